//! For tests: a PostgreSQL of their own, which goes with the process that started it.
#![allow(clippy::disallowed_methods, reason = "for tests: starts a PostgreSQL server and finds its programs")]

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::{DatabaseUrl, InvalidDatabaseUrl};

/// Decodes messages of logical replication in their order, and ignores which of them were malformed: for the fuzz target.
pub fn decode_replication(messages: impl IntoIterator<Item = Vec<u8>>) {
    let mut decoder = crate::postgres::pgoutput::Decoder::default();
    for message in messages {
        let _ = decoder.decode(message.into());
    }
}

/// The superuser. Not named `postgres`, which hosted projects have without superuser rights.
pub const SUPERUSER: &str = "supabase_admin";
/// Their password: sent over loopback as SCRAM, as a real server asks for it.
const PASSWORD: &str = "throw-away";

/// The server and its directory live as long as the standard input of this script. What the process that started it
/// does, however it ends, closes that.
const SCRIPT: &str = r#"
home=$(mktemp -d "${TMPDIR:-/tmp}/preview-agent-postgres.XXXXXX") || exit 1
trap 'rm -rf "$home"' EXIT
trap '' INT
cd "$home"
printf '%s' "$PASSWORD" > password
"$bin/initdb" -D data -U "$SUPERUSER" -A scram-sha-256 --pwfile=password -E UTF8 --locale=C.UTF-8 --no-sync > log 2>&1 \
  || { cat log >&2; exit 1; }
"$bin/postgres" -D data -p "$PORT" -k "$home" -c listen_addresses=127.0.0.1 -c wal_level=logical -c fsync=off \
  -c max_connections=200 -c max_replication_slots=50 -c max_wal_senders=50 -c log_min_messages=error $SETTINGS \
  < /dev/null > log 2>&1 &
server=$!
until "$bin/pg_isready" -q -h "$home" -p "$PORT"; do
  kill -0 "$server" 2> /dev/null || { cat log >&2; exit 1; }
  sleep 0.05
done
echo "$home"
cat > /dev/null
kill -QUIT "$server"
wait "$server"
"#;

/// A running server. Dropped, it is killed and its directory removed.
pub struct PostgresServer {
    script: Child,
    /// Closing it ends the script.
    input: Option<ChildStdin>,
    home: PathBuf,
    port: u16,
    databases: AtomicU64,
}

impl PostgresServer {
    /// Makes and starts one, with what logical decoding needs. The newest PostgreSQL of this machine is taken; where
    /// there is none, or it does not start, the error says so. It takes a second or two.
    pub fn start() -> io::Result<PostgresServer> {
        PostgresServer::start_with("")
    }

    /// The same with further arguments of the server, such as `-c wal_level=replica`.
    pub fn start_with(settings: &str) -> io::Result<PostgresServer> {
        let bin = programs()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("bin", &bin).env("PORT", port.to_string()).env("SETTINGS", settings);
        command.env("SUPERUSER", SUPERUSER).env("PASSWORD", PASSWORD);
        command.current_dir("/");
        if id(&["-u"])? == 0 {
            // initdb and the server refuse to run as root.
            command.gid(id(&["-g", "postgres"])?).uid(id(&["-u", "postgres"])?);
        }
        let mut script = command.spawn()?;
        let input = script.stdin.take();
        let mut home = String::new();
        if let Some(output) = script.stdout.take() {
            BufReader::new(output).read_line(&mut home)?;
        }
        if home.trim().is_empty() {
            let mut said = String::new();
            if let Some(mut errors) = script.stderr.take() {
                errors.read_to_string(&mut said)?;
            }
            script.wait()?;
            return Err(io::Error::other(format!("PostgreSQL did not start: {}", said.trim())));
        }
        Ok(PostgresServer { script, input, home: home.trim().into(), port, databases: AtomicU64::new(0) })
    }

    /// An empty database of its own, as its superuser.
    pub fn database(&self) -> io::Result<DatabaseUrl> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(programs()?.join("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", SUPERUSER, &name])
            .env("PGPASSWORD", PASSWORD)
            .output()?;
        match made.status.success() {
            true => self.url(SUPERUSER, &name).map_err(io::Error::other),
            false => Err(io::Error::other(format!("createdb: {}", String::from_utf8_lossy(&made.stderr).trim()))),
        }
    }

    /// The address of a database as a user. Only the superuser has a password.
    pub fn url(&self, user: &str, database: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
        format!("postgres://{user}:{PASSWORD}@127.0.0.1:{}/{database}", self.port).parse()
    }

    /// Where its Unix socket lies.
    pub fn socket_directory(&self) -> &Path {
        &self.home
    }

    /// Its port on 127.0.0.1, which is in the socket's name too.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has its own end to report and nothing that could be done about it here.
        let _ = self.script.wait();
    }
}

/// An ES256 key, as it is imported into a project or is its auth's own.
pub struct SigningKey {
    kid: String,
    pkcs8: Vec<u8>,
}

impl SigningKey {
    /// A new one.
    pub fn new(kid: &str) -> Result<SigningKey, Unspecified> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        Ok(SigningKey { kid: kid.into(), pkcs8: pkcs8.as_ref().to_vec() })
    }

    /// The JWK that everybody may have.
    pub fn public(&self) -> Value {
        // PKCS #8 ends with the point: 0x04, x, y.
        let point = &self.pkcs8[self.pkcs8.len() - 64..];
        let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(&point[..32]), BASE64_URL_SAFE_NO_PAD.encode(&point[32..]));
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid, "x": x, "y": y})
    }

    /// The same with what signs.
    pub fn private(&self) -> Value {
        let mut jwk = self.public();
        // Of a P-256 key, the number stands behind 36 bytes of headers.
        jwk["d"] = json!(BASE64_URL_SAFE_NO_PAD.encode(&self.pkcs8[36..68]));
        jwk
    }

    /// A JWT of `claims` as they are.
    pub fn sign(&self, claims: &Value) -> Result<String, Unspecified> {
        self.sign_as(&json!({"alg": "ES256", "typ": "JWT", "kid": self.kid}), claims)
    }

    /// The same under any header.
    pub fn sign_as(&self, header: &Value, claims: &Value) -> Result<String, Unspecified> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8, &random);
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let tag = pair.map_err(|_| Unspecified)?.sign(&random, signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag)))
    }
}

/// Runs statements as the address's user, and gives the rows of all of them as text.
pub async fn sql(url: &DatabaseUrl, statements: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url.expose(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let said = client.simple_query(statements).await?;
    let rows = said.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.map(|row| (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()).collect())
}

/// The directory of the newest server's programs.
fn programs() -> io::Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for version in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten() {
        let version = version?;
        if let Some(number) = version.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push((number, version.path().join("bin")));
        }
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&on_path).find(|directory| directory.join("initdb").exists());
    let newest = found.into_iter().filter(|(_, bin)| bin.join("initdb").exists()).max().map(|(_, bin)| bin);
    newest.or(on_path).ok_or_else(|| io::Error::other("PostgreSQL's server programs are missing (Debian: postgresql)"))
}

/// What `id` says.
fn id(arguments: &[&str]) -> io::Result<u32> {
    let output = Command::new("id").args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    said.parse().map_err(|_| io::Error::other(format!("id {}: no such user on this machine", arguments.join(" "))))
}
