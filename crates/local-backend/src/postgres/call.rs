use serde_json::{Map, Value, json};
use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use super::connections::Connection;
use super::{DatabaseError, Shared};
use crate::token::Claims;

/// The HTTP method of a function's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallMethod {
    /// Arguments in the query; the transaction is read only.
    Get,
    /// Arguments in the body.
    Post,
}

impl CallMethod {
    fn as_str(self) -> &'static str {
        match self {
            CallMethod::Get => "GET",
            CallMethod::Post => "POST",
        }
    }
}

/// The part of a query that selects from the rows that a function returns.
pub struct RowSelection {
    /// The columns to return.
    pub columns: Vec<String>,
    /// The clauses after `from … called`: where, order by, limit, offset.
    pub clauses: String,
}

/// One call of a function over the API.
pub struct Call {
    pub name: String,
    pub arguments: Map<String, Value>,
    pub claims: Claims,
    pub method: CallMethod,
    /// The request's headers by their lower-case names.
    pub headers: Map<String, Value>,
    pub selection: Option<RowSelection>,
}

/// Whether a transaction may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// A request with what PostgREST sets for it in the database.
pub struct ApiRequest {
    pub claims: Claims,
    pub method: &'static str,
    pub path: String,
    /// By their lower-case names.
    pub headers: Map<String, Value>,
    pub access: Access,
}

/// PostgREST sets these in each transaction, as `set local` does.
const SETTINGS: &str = "select set_config('search_path', 'public', true), set_config('role', $1, true), \
    set_config('request.jwt.claims', $2, true), set_config('request.method', $3, true), \
    set_config('request.path', $4, true), set_config('request.headers', $5, true), \
    set_config('request.cookies', '{}', true)";

impl Shared {
    /// Runs the function in a transaction as the caller, and returns its JSON.
    pub async fn call(&self, call: Call) -> Result<String, DatabaseError> {
        let arguments = Value::Object(call.arguments);
        let given = arguments.as_object().cloned().unwrap_or_default();
        let Some(function) = self.catalog.find(&call.name, &given) else {
            return Err(DatabaseError::NoFunction { name: call.name, arguments });
        };
        let (columns, clauses) = match call.selection {
            Some(selection) if function.returns_rows() => (selection.columns, selection.clauses),
            _ => (Vec::new(), String::new()),
        };
        let statement = function.statement(&given, &columns, &clauses);
        let read_only = call.method == CallMethod::Get || function.read_only;
        let request = ApiRequest {
            claims: call.claims,
            method: call.method.as_str(),
            path: format!("/rpc/{}", call.name),
            headers: call.headers,
            access: if read_only { Access::ReadOnly } else { Access::ReadWrite },
        };
        self.run(request, &statement, &arguments.to_string()).await
    }

    /// Runs one statement, whose `$1` is `body` and whose one value is text, in a transaction as the caller.
    pub async fn run(&self, request: ApiRequest, statement: &str, body: &str) -> Result<String, DatabaseError> {
        let begin = match request.access {
            Access::ReadOnly => "begin isolation level read committed read only",
            Access::ReadWrite => "begin isolation level read committed read write",
        };
        let settings = [
            request.claims.role().to_owned(),
            request.claims.to_json(),
            request.method.to_owned(),
            request.path,
            json!(request.headers).to_string(),
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
        run.await.map_err(|error| DatabaseError::from(&error))
    }
}

/// Everything but the commit is sent at once: each round trip costs more than the statement.
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
    // Deferred triggers, the event's above all, may still refuse at the commit.
    client.batch_execute("commit").await?;
    answer.try_get(0)
}
