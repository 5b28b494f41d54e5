use serde_json::{Map, Value, json};
use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use super::connections::Connection;
use super::{Shared, refusal};
use crate::http::postgrest::{ApiError, no_such_function};
use crate::store::listing::Listing;
use crate::token::Claims;

/// One call of a function over the API.
pub struct Call {
    pub name: String,
    pub arguments: Map<String, Value>,
    pub claims: Claims,
    /// By GET, which writes nothing.
    pub get: bool,
    /// The request's headers, in small letters.
    pub headers: Map<String, Value>,
    pub listing: Option<Listing>,
}

/// A request as PostgREST tells the database of it.
pub struct Asked {
    pub claims: Claims,
    pub method: &'static str,
    pub path: String,
    /// In small letters.
    pub headers: Map<String, Value>,
    pub reads_only: bool,
}

/// PostgREST sets these in each transaction, as `set local` does.
const SETTINGS: &str = "select set_config('search_path', 'public', true), set_config('role', $1, true), \
    set_config('request.jwt.claims', $2, true), set_config('request.method', $3, true), \
    set_config('request.path', $4, true), set_config('request.headers', $5, true), \
    set_config('request.cookies', '{}', true)";

impl Shared {
    /// Runs it in a transaction of its own as the caller, and gives its JSON.
    pub async fn call(&self, call: Call) -> Result<String, ApiError> {
        let arguments = Value::Object(call.arguments);
        let given = arguments.as_object().cloned().unwrap_or_default();
        let function = self.catalog.find(&call.name, &given).ok_or_else(|| no_such_function(&call.name, &arguments))?;
        let (columns, rest) = match &call.listing {
            Some(listing) if function.gives_rows() => (listing.columns().to_vec(), listing.sql()),
            _ => (Vec::new(), String::new()),
        };
        let statement = function.statement(&given, &columns, &rest);
        let asked = Asked {
            claims: call.claims,
            method: if call.get { "GET" } else { "POST" },
            path: format!("/rpc/{}", call.name),
            headers: call.headers,
            reads_only: call.get || function.reads_only,
        };
        self.run(asked, &statement, &arguments.to_string()).await
    }

    /// Runs one statement, whose `$1` is `body` and whose one value is text, in a transaction of its own as the caller.
    pub async fn run(&self, asked: Asked, statement: &str, body: &str) -> Result<String, ApiError> {
        let begin = match asked.reads_only {
            true => "begin isolation level read committed read only",
            false => "begin isolation level read committed read write",
        };
        let signed_in = asked.claims.role() != "anon";
        let settings = [
            asked.claims.role().to_owned(),
            asked.claims.to_json(),
            asked.method.to_owned(),
            asked.path,
            json!(asked.headers).to_string(),
        ];
        let run = async {
            let mut connection = self.callers.take().await?;
            let outcome = transaction(&mut connection, begin, &settings, statement, body).await;
            match outcome {
                Ok(answer) => {
                    connection.give_back();
                    Ok(answer)
                }
                Err(error) => {
                    if connection.client().batch_execute("rollback").await.is_ok() {
                        connection.give_back();
                    }
                    Err(error)
                }
            }
        };
        run.await.map_err(|error| refusal::api_error(&error, signed_in))
    }
}

/// Everything but the commit is on its way at once: each wait for an answer costs more than the statement.
async fn transaction(
    connection: &mut Connection<'_>,
    begin: &str,
    settings: &[String; 5],
    statement: &str,
    body: &str,
) -> Result<String, Error> {
    let set = connection.prepare(SETTINGS, [Type::TEXT; 5].as_slice()).await?;
    let called = connection.prepare(statement, &[Type::TEXT]).await?;
    let settings: Vec<&(dyn ToSql + Sync)> = settings.iter().map(|setting| setting as _).collect();
    let body: [&(dyn ToSql + Sync); 1] = [&body];
    let client = connection.client();
    let ((), _, answer) =
        tokio::try_join!(client.batch_execute(begin), client.query(&set, &settings), client.query_one(&called, &body))?;
    // What waits for the commit, the event above all, may still refuse.
    client.batch_execute("commit").await?;
    answer.try_get(0)
}
