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

/// Beginnings of words that are secrets whatever follows: a JWT, and a secret key of Supabase.
const SECRET_PREFIXES: [&str; 2] = ["eyJ", "sb_secret_"];
/// A word that begins so and is shorter is no secret.
const SHORTEST_SECRET: usize = 24;

/// Replaces each of `secrets` in `text`, and every word that looks like a token or a key. Lines stay.
pub fn redact(text: &str, secrets: &[SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty()) {
        if text.contains(secret) {
            text = text.replace(secret, "[secret]");
        }
    }
    if !SECRET_PREFIXES.iter().any(|prefix| text.contains(prefix)) {
        return text;
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_secret =
        |word: &str| word.len() >= SHORTEST_SECRET && SECRET_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let word = rest.split(|c| !is_word(c)).next().unwrap_or_default();
        let (word, after) = rest.split_at(word.len());
        clean.push_str(if is_secret(word) { "[secret]" } else { word });
        let between = after.split(is_word).next().unwrap_or_default();
        let (between, after) = after.split_at(between.len());
        clean.push_str(between);
        rest = after;
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_redacted_wherever_they_stand() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoieCJ9.c2ln";
        let text = format!("a ({token})\n\"sb_secret_0123456789abcdef\" eyJ, k3y-k3y ä");
        assert_eq!(redact(&text, &["k3y-k3y".into()]), "a ([secret])\n\"[secret]\" eyJ, [secret] ä");
        assert_eq!(redact("plain text\n", &[]), "plain text\n");
    }

    #[test]
    fn replaces_secrets_before_it_cuts() {
        let secrets = ["k3y".into(), String::new().into()];
        assert_eq!(scrub(" no k3y,\r\nno k3y \n", &secrets), "no [secret],  no [secret]");
        let cut = scrub(&format!("{}k3y", "a".repeat(MAX_TEXT - 2)), &secrets);
        assert!(cut.len() == MAX_TEXT && !cut.contains("k3"), "{cut}");
    }
}
