use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use tokio_postgres::{Client, Error};

/// The functions of schema `public`, as in PostgREST's schema cache. Read once.
pub struct Catalog(HashMap<String, Vec<Function>>);

/// One function of schema `public`.
pub struct Function {
    name: String,
    arguments: Vec<Argument>,
    returns: Returns,
    /// STABLE or IMMUTABLE: PostgREST calls it in a read-only transaction.
    pub read_only: bool,
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
    /// Reads the functions from the database.
    pub async fn read(client: &Client) -> Result<Catalog, Error> {
        let mut functions: HashMap<String, Vec<Function>> = HashMap::new();
        for row in client.query(FUNCTIONS, &[]).await? {
            let (names, types): (Vec<String>, Vec<String>) = (row.get(1), row.get(2));
            // A function with unnamed arguments cannot be called through the API.
            if names.len() < types.len() || names.iter().any(String::is_empty) {
                continue;
            }
            let required = types.len().saturating_sub(usize::try_from(row.get::<_, i32>(3)).unwrap_or(0));
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
            let function = Function { name: name.clone(), arguments, returns, read_only: row.get(6) };
            functions.entry(name).or_default().push(function);
        }
        Ok(Catalog(functions))
    }

    /// The function that has all of these arguments and requires no other.
    pub fn find(&self, name: &str, given: &Map<String, Value>) -> Option<&Function> {
        self.0.get(name)?.iter().find(|function| {
            let names: HashSet<&str> = function.arguments.iter().map(|argument| argument.name.as_str()).collect();
            given.keys().all(|name| names.contains(name.as_str()))
                && function.arguments.iter().all(|one| one.optional || given.contains_key(&one.name))
        })
    }

    /// The names of all arguments of the functions with this name.
    pub fn arguments(&self, name: &str) -> HashSet<String> {
        let functions = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        functions.iter().flat_map(|one| &one.arguments).map(|argument| argument.name.clone()).collect()
    }
}

impl Function {
    /// The statement that calls the function. Its `$1` is the JSON of the arguments `given`, its result one JSON text. Each
    /// argument is cast to the declared type. `columns` and `clauses` select from returned rows.
    pub fn statement(&self, given: &Map<String, Value>, columns: &[String], clauses: &str) -> String {
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
                     lateral {call} called {clauses}) given"
                )
            }
        }
    }

    /// Whether the function returns a set of rows.
    pub fn returns_rows(&self) -> bool {
        self.returns == Returns::Rows
    }
}

/// `name` as a quoted SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as an SQL string literal, after a space.
pub fn literal(text: &str) -> String {
    // E'' has the same meaning whether standard_conforming_strings is on or off.
    format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
