//! The tables of `docs/security.md` name tests that exist.

use std::fs;

use crate::support::markdown::root;

/// `path` exists, and `path::test` is a function of that file.
fn check(named: &str) -> Result<(), String> {
    let (path, test) = named.split_once("::").map_or((named, None), |(path, test)| (path, Some(test)));
    let place = root().join(path);
    if !place.exists() {
        return Err(format!("there is no {path}"));
    }
    let Some(test) = test else { return Ok(()) };
    let text = fs::read_to_string(&place).map_err(|error| format!("{path}: {error}"))?;
    text.contains(&format!("fn {test}()")).then_some(()).ok_or_else(|| format!("{path} has no test {test}"))
}

/// The lines of tables, without their heads.
fn rows_of(text: &str) -> impl Iterator<Item = &str> {
    let is_head = |line: &str| line.starts_with("| attack ") || line.starts_with("| ---");
    text.lines().filter(move |line| line.starts_with("| ") && !is_head(line))
}

#[test]
fn each_attack_names_a_test_that_exists() {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (mut rows, mut tests) = (0, 0);
    for row in rows_of(&text) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [_, _, shown_by] = cells[..] else { panic!("not three cells: {row}") };
        let named: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(shown_by.contains("pgTAP") || !named.is_empty(), "no test: {row}");
        for name in named {
            check(name).unwrap_or_else(|missing| panic!("{missing}: {row}"));
            tests += usize::from(name.contains("::"));
        }
        rows += 1;
    }
    assert!(rows >= 30 && tests >= 15, "{rows} attacks, {tests} tests by name");
    assert!(check("tests/agent/trust.rs::missing").is_err() && check("tests/agent/missing.rs").is_err());
}
