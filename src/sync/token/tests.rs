use super::*;

const PROJECT: &str = "11111111-1111-4111-8111-111111111111";

fn jwt(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn envelope_of(scope: &str, token: &str) -> String {
    STANDARD_NO_PAD.encode(format!(
        r#"{{"token":"{token}","scope":"{scope}","channels":["realtime:{scope}"],"exp":3600,"iat":0,"userId":"u"}}"#
    ))
}

fn own(token: &str) -> String {
    envelope_of(&format!("project:{PROJECT}"), token)
}

#[test]
fn reads_a_jwt_and_does_not_print_it() {
    let text =
        jwt(&format!(r#"{{"role":"preview_agent","project_id":"{PROJECT}","session_id":"s","iat":10.5,"exp":70}}"#));
    let token = Token::parse(&format!(" {text}\n"), &PROJECT.to_uppercase()).unwrap();
    assert_eq!((token.format(), token.expose(), token.role()), (TokenFormat::Jwt, &*text, Some("preview_agent")));
    assert_eq!((token.lifetime(), token.project_id()), (Some(Duration::from_millis(59_500)), PROJECT));
    assert_eq!(token.expiry(), Some(UNIX_EPOCH + Duration::from_secs(70)));
    assert!(!format!("{token:?}").contains("c2ln"), "a token must not print");
    let endless = jwt(&format!(r#"{{"role":"x","project_id":"{PROJECT}","exp":70}}"#));
    assert_eq!(Token::parse(&endless, PROJECT).unwrap().lifetime(), None);
}

#[test]
fn reads_the_legacy_envelope_with_and_without_padding() {
    for padding in ["", "=", "=="] {
        let token = Token::parse(&format!("{}{padding}", own("anon-key")), PROJECT).unwrap();
        assert_eq!((token.format(), token.expose(), token.role()), (TokenFormat::Envelope, "anon-key", None));
        assert_eq!(token.lifetime(), Some(Duration::from_secs(3600)));
        assert!(!format!("{token:?}").contains("anon-key"), "a token must not print");
    }
    let anon = jwt(r#"{"role":"anon"}"#);
    assert_eq!(Token::parse(&own(&anon), PROJECT).unwrap().role(), Some("anon"));
}

#[test]
fn rejects_invalid_tokens_with_specific_errors() {
    let refused = |text: &str| Token::parse(text, PROJECT).unwrap_err();
    assert_eq!(refused(""), TokenError::EnvelopeJson);
    assert_eq!(refused("no!sense"), TokenError::Malformed);
    assert_eq!(refused("a.b.c.d"), TokenError::Malformed);
    assert_eq!(refused("bm9uc2Vuc2U="), TokenError::EnvelopeJson);
    assert_eq!(refused(&"x".repeat(MAX_TOKEN + 1)), TokenError::TooLong(MAX_TOKEN + 1));
    assert_eq!(refused("a.!.c"), TokenError::ClaimsEncoding);
    assert_eq!(refused(&jwt("[]")), TokenError::ClaimsJson);
    assert_eq!(refused(&jwt(r#"{"role":7}"#)), TokenError::ClaimsJson);
    assert_eq!(refused(&jwt("{}")), TokenError::Missing("role"));
    assert_eq!(refused(&jwt(r#"{"role":"x"}"#)), TokenError::Missing("project_id"));
    assert_eq!(refused(&jwt(r#"{"role":"x","project_id":"p"}"#)), TokenError::OtherProject("p".into()));
    assert_eq!(refused(&envelope_of("project:p", "t")), TokenError::OtherProject("p".into()));
    assert_eq!(refused(&envelope_of("all", "t")), TokenError::Scope);
    assert_eq!(refused(&own("")), TokenError::EnvelopeToken);
    assert_eq!(refused(&own("a\\r\\nb: c")), TokenError::EnvelopeToken);
    let service = jwt(r#"{"role":"service_role"}"#);
    assert_eq!(refused(&service), TokenError::ServiceRole);
    assert_eq!(refused(&own(&service)), TokenError::ServiceRole);
    for times in [r#""iat":2,"exp":1"#, r#""iat":2,"exp":2"#, r#""iat":-1,"exp":1"#, r#""iat":1,"exp":1e300"#] {
        let backwards = jwt(&format!(r#"{{"role":"x","project_id":"{PROJECT}",{times}}}"#));
        assert_eq!(refused(&backwards), TokenError::Lifetime, "{times}");
    }
}

#[test]
fn clones_of_a_cell_share_the_renewed_token() {
    let cell = TokenCell::new(Token::parse(&own("one"), PROJECT).unwrap());
    cell.clone().replace(Token::parse(&own("two"), PROJECT).unwrap());
    assert_eq!(cell.current().expose(), "two");
}

#[test]
fn finds_a_service_key_in_every_setting() {
    let found = |name: &str, value: &str| {
        let others = [("PATH".to_owned(), "/bin".to_owned()), (name.to_owned(), value.to_owned())];
        service_key_in(others.into_iter())
    };
    let service = jwt(r#"{"role":"service_role"}"#);
    for (name, value) in [
        ("SUPABASE_SERVICE_ROLE_KEY", "x"),
        ("SUPABASE_SECRET_KEY", "x"),
        ("SUPABASE_SECRET_KEYS", "{}"),
        ("ANYTHING", " sb_secret_abc"),
        ("REALTIME_TOKEN", &service),
        ("SUPABASE_ANON_KEY", &service),
        ("REALTIME_TOKEN", &own(&service)),
        ("REALTIME_TOKEN", &own("sb_secret_abc")),
    ] {
        assert_eq!(found(name, value).as_deref(), Some(name), "{value}");
    }
    for (name, value) in [
        ("SUPABASE_SERVICE_ROLE_KEY", ""),
        ("SUPABASE_ANON_KEY", "sb_publishable_abc"),
        ("SUPABASE_ANON_KEY", &jwt(r#"{"role":"anon"}"#)),
        ("REALTIME_TOKEN", "nonsense"),
    ] {
        assert_eq!(found(name, value), None, "{name}={value}");
    }
}
