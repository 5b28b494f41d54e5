//! What others said, made fit for a log line.

use secrecy::{ExposeSecret, SecretString};

/// The longest text of others that stands in an error, in characters.
pub const MAX_TEXT: usize = 500;

/// `text` in one line, cut, with `secrets` blacked out: a server may well quote what it was sent.
pub fn scrub(text: &str, secrets: &[SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[secret]");
    }
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printable).take(MAX_TEXT).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blacks_out_secrets_before_it_cuts() {
        let secrets = ["k3y".into(), String::new().into()];
        assert_eq!(scrub(" no k3y,\r\nno k3y \n", &secrets), "no [secret],  no [secret]");
        let cut = scrub(&format!("{}k3y", "a".repeat(MAX_TEXT - 2)), &secrets);
        assert!(cut.len() == MAX_TEXT && !cut.contains("k3"), "{cut}");
    }
}
