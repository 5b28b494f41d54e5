//! Makes the text of a server fit for a log line or an error.

use secrecy::{ExposeSecret, SecretString};

/// The longest text of a server in an error, in characters.
pub const MAX_TEXT: usize = 500;

/// Replaces each of `secrets` in `text` (a server may repeat what it was sent), replaces control characters by spaces, and
/// cuts the text to [`MAX_TEXT`] characters.
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
    fn replaces_secrets_before_it_cuts() {
        let secrets = ["k3y".into(), String::new().into()];
        assert_eq!(scrub(" no k3y,\r\nno k3y \n", &secrets), "no [secret],  no [secret]");
        let cut = scrub(&format!("{}k3y", "a".repeat(MAX_TEXT - 2)), &secrets);
        assert!(cut.len() == MAX_TEXT && !cut.contains("k3"), "{cut}");
    }
}
