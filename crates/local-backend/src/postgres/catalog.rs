use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use tokio_postgres::{Client, Error};

/// The functions of `public`, as PostgREST's schema cache has them: read once.
pub struct Catalog(HashMap<String, Vec<Function>>);

/// One function.
pub struct Function {
    name: String,
    arguments: Vec<Argument>,
    returns: Returns,
    /// STABLE or IMMUTABLE: called in a transaction that cannot write.
    pub reads_only: bool,
}

struct Argument {
    name: String,
    type_name: String,
    optional: bool,
}

#[derive(PartialEq)]
enum Returns {
    One,
    Row,
    Rows,
}

const FUNCTIONS: &str = "
    select p.proname::text, coalesce(p.proargnames[1:p.pronargs], '{}'),
        array(select format_type(t, null) from unnest(p.proargtypes) with ordinality a(t, n) order by n),
        p.pronargdefaults::int4, p.proretset, t.typtype = 'c', p.provolatile <> 'v'
    from pg_proc p join pg_type t on t.oid = p.prorettype
    where p.pronamespace = 'public'::regnamespace and p.prokind = 'f' and p.prorettype <> 'trigger'::regtype";

impl Catalog {
    /// Asks the database.
    pub async fn read(client: &Client) -> Result<Catalog, Error> {
        let mut functions: HashMap<String, Vec<Function>> = HashMap::new();
        for row in client.query(FUNCTIONS, &[]).await? {
            let (names, types): (Vec<String>, Vec<String>) = (row.get(1), row.get(2));
            // Such a function cannot be called by names.
            if names.len() < types.len() || names.iter().any(String::is_empty) {
                continue;
            }
            let required = types.len().saturating_sub(row.get::<_, i32>(3) as usize);
            let arguments = names.into_iter().zip(types).enumerate();
            let arguments = arguments
                .map(|(index, (name, type_name))| Argument { name, type_name, optional: index >= required })
                .collect();
            let returns = match (row.get(4), row.get(5)) {
                (true, _) => Returns::Rows,
                (false, true) => Returns::Row,
                (false, false) => Returns::One,
            };
            let name: String = row.get(0);
            let function = Function { name: name.clone(), arguments, returns, reads_only: row.get(6) };
            functions.entry(name).or_default().push(function);
        }
        Ok(Catalog(functions))
    }

    /// The function that has all of these arguments, and needs no more.
    pub fn find(&self, name: &str, given: &Map<String, Value>) -> Option<&Function> {
        self.0.get(name)?.iter().find(|function| {
            let names: HashSet<&str> = function.arguments.iter().map(|argument| argument.name.as_str()).collect();
            given.keys().all(|name| names.contains(name.as_str()))
                && function.arguments.iter().all(|one| one.optional || given.contains_key(&one.name))
        })
    }

    /// The names of the arguments that any function of that name has.
    pub fn arguments(&self, name: &str) -> HashSet<String> {
        let functions = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        functions.iter().flat_map(|one| &one.arguments).map(|argument| argument.name.clone()).collect()
    }
}

impl Function {
    /// The statement that calls it with `given`, one JSON text as its `$1`, and gives one JSON text. Each argument has
    /// the type that the function declares. `rest` picks and orders where it gives rows.
    pub fn statement(&self, given: &Map<String, Value>, columns: &[String], rest: &str) -> String {
        let used = || self.arguments.iter().filter(|argument| given.contains_key(&argument.name));
        let types: Vec<String> = used().map(|one| format!("{} {}", quoted(&one.name), one.type_name)).collect();
        let values: Vec<String> = used().map(|one| format!("{0} := body.{0}", quoted(&one.name))).collect();
        let call = format!("public.{}({})", quoted(&self.name), values.join(", "));
        let body = match types.is_empty() {
            true => "(select $1::text::json) body".to_owned(),
            false => format!("json_to_record($1::text::json) as body({})", types.join(", ")),
        };
        match self.returns {
            Returns::One => format!("select coalesce(to_json({call})::text, 'null') from {body}"),
            Returns::Row => {
                format!("select coalesce(row_to_json(called)::text, 'null') from {body}, lateral {call} called")
            }
            Returns::Rows => {
                let columns: Vec<String> = columns.iter().map(|column| format!("called.{}", quoted(column))).collect();
                let columns = if columns.is_empty() { "called.*".to_owned() } else { columns.join(", ") };
                format!(
                    "select coalesce(json_agg(given)::text, '[]') from (select {columns} from {body}, \
                     lateral {call} called {rest}) given"
                )
            }
        }
    }

    /// Whether it gives rows, which may be picked and ordered.
    pub fn gives_rows(&self) -> bool {
        self.returns == Returns::Rows
    }
}

/// A name as SQL takes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it.
pub fn literal(text: &str) -> String {
    // Backslashes mean themselves only while standard_conforming_strings is on: said, not relied on.
    format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
