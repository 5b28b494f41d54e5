use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Variables that are passed on: paths, language and terminal, caches, certificates and proxies.
///
/// Left out on purpose: `NODE_ENV` (with `production`, Vite is not installed), `NODE_OPTIONS` and `LD_PRELOAD` (they load
/// code), and everything that is not named. An operator passes on others with `PREVIEW_ENV_*`.
const PASSED_ON: [&str; 26] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "TMPDIR",
    // Caches and settings of package managers.
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "COREPACK_HOME",
    "PNPM_HOME",
    "YARN_CACHE_FOLDER",
    "BUN_INSTALL_CACHE_DIR",
    // Certificates and proxies, for installs.
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// `PREVIEW_ENV_FOO=1` is passed on as `FOO=1`.
pub const PREFIX: &str = "PREVIEW_ENV_";

/// The whole environment of a child. It inherits nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Picks from `variables` what a child may see: the list above, `LC_*`, `npm_config_*`, and `PREVIEW_ENV_*` without
    /// its prefix, which replaces others. Nothing that looks like a credential is picked: a setting of npm with `auth`,
    /// `token`, `key` or the like in its name, and a URL with a user in it.
    pub fn pick(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let mut picked = BTreeMap::new();
        let mut explicit = BTreeMap::new();
        for (name, value) in variables {
            let Some(text) = name.to_str() else { continue };
            match text.strip_prefix(PREFIX) {
                Some("") => {}
                Some(own) => {
                    explicit.insert(own.into(), value);
                }
                None if is_passed_on(text) && !has_user_in_url(&value) => {
                    picked.insert(name, value);
                }
                None => {}
            }
        }
        picked.extend(explicit);
        Environment(picked)
    }

    /// Sets a variable, also where it is set already.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Removes a variable, where it is set.
    pub fn unset(&mut self, name: &str) {
        self.0.remove(OsStr::new(name));
    }

    /// Sets a variable that is not set yet.
    pub fn set_default(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.entry(name.into()).or_insert_with(|| value.into());
    }

    /// All variables with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The first executable file named `program` on this environment's PATH.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        let path = self.0.get(OsStr::new("PATH"))?;
        std::env::split_paths(path)
            .map(|dir| dir.join(program))
            .find(|file| file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0))
    }
}

fn is_passed_on(name: &str) -> bool {
    if PASSED_ON.contains(&name) || name.starts_with("LC_") {
        return true;
    }
    let name = name.to_ascii_lowercase();
    let secret = ["auth", "token", "key", "password", "secret", "cert", "username"];
    // npm sets NODE_OPTIONS from `node_options`.
    name.strip_prefix("npm_config_").is_some_and(|own| {
        !secret.iter().any(|word| own.contains(word)) && !own.replace('-', "_").contains("node_options")
    })
}

/// Whether a value is a URL like `https://user:password@host`.
fn has_user_in_url(value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    value.split_once("://").is_some_and(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or("").contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let text = |part: &OsStr| part.to_str().expect("test values are text").to_owned();
        Environment::pick(variables).iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn only_listed_variables_are_passed_on() {
        let kept = [("HOME", "/home/node"), ("LC_ALL", "C.UTF-8"), ("PATH", "/bin"), ("npm_config_cache", "/cache")];
        let mut all = kept.to_vec();
        all.extend([
            ("REALTIME_TOKEN", "x"),
            ("SNAPSHOT_URL", "https://x"),
            ("SUPABASE_ANON_KEY", "x"),
            ("STATUS_TOKEN", "x"),
            ("NODE_OPTIONS", "--require /x"),
            ("NODE_ENV", "production"),
            ("NODE_AUTH_TOKEN", "x"),
            ("LD_PRELOAD", "/x.so"),
            ("npm_config_//registry.example/:_authToken", "x"),
            ("NPM_CONFIG__PASSWORD", "x"),
            ("npm_config_node_options", "--require /x"),
            ("HTTPS_PROXY", "http://user:password@proxy.example:3128"),
        ]);
        let kept: Vec<_> = kept.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(picked(&all), kept);
    }

    #[test]
    fn prefixed_variable_replaces_another() {
        let all = [
            ("PREVIEW_ENV_TZ", "Europe/Berlin"),
            ("TZ", "UTC"),
            ("PREVIEW_ENV_VITE_TITLE", "x"),
            ("PREVIEW_ENV_", "y"),
        ];
        assert_eq!(picked(&all), [("TZ".into(), "Europe/Berlin".into()), ("VITE_TITLE".into(), "x".into())]);
    }

    #[test]
    fn proxy_without_a_user_is_passed_on() {
        assert_eq!(picked(&[("HTTPS_PROXY", "http://proxy.example:3128/?a=b@c")]).len(), 1);
    }
}
