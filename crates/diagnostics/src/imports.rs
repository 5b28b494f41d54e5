//! What a served module or document loads.

/// The most imports that are read of one module. A glob import may have thousands.
const MAX_IMPORTS: usize = 2_000;

/// The specifiers after `import`, `import(` and `from` in a module as a dev server answers it, where each is one literal.
/// Comments and strings are not told from code: a specifier too many is asked for and found to be no module.
pub fn imports_of(script: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in ["import", "from"] {
        for (at, _) in script.match_indices(word) {
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || c == '.';
            if script.get(..at).is_some_and(|before| before.ends_with(is_word)) {
                continue;
            }
            let after = script.get(at.saturating_add(word.len())..).unwrap_or_default();
            if let Some(specifier) = literal_after(after)
                && found.len() < MAX_IMPORTS
            {
                found.push(specifier.to_owned());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// `"x"` or `'x'`, after spaces, `(` and one comment.
fn literal_after(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let text = text.strip_prefix('(').unwrap_or(text).trim_start();
    let text = match text.strip_prefix("/*") {
        Some(comment) => comment.split_once("*/")?.1.trim_start(),
        None => text,
    };
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (literal, _) = text.get(1..)?.split_once(quote)?;
    (!literal.contains('\n')).then_some(literal)
}

/// The addresses of modules that a document loads, those of its inline scripts included. Classic scripts are not transformed.
pub fn loads_of_document(html: &str) -> Vec<String> {
    let mut found = Vec::new();
    for tag in html.split("<script").skip(1) {
        let Some((attributes, rest)) = tag.split_once('>') else { continue };
        match attribute(attributes, "src") {
            Some(address) if attribute(attributes, "type").as_deref() == Some("module") => found.push(address),
            Some(_) => {}
            None => found.extend(imports_of(rest.split("</script").next().unwrap_or_default())),
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The value of an attribute, quoted.
fn attribute(attributes: &str, name: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        let (before, after) = rest.split_once(name)?;
        rest = after;
        if before.ends_with(char::is_whitespace)
            && let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start)
            && let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\''))
        {
            let value = value.get(1..)?.split(quote).next()?;
            return Some(value.replace("&amp;", "&"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_of_a_served_module_are_found() {
        let script = r#"
import { a } from "/src/a.js";import "/src/styles.css";
import.meta.hot = create("/src/no.js"); const important = "/src/no.js";
export * from '/src/b.ts?t=1'; const page = () => import("/src/pages/x.jsx");
const y = import(/* @vite-ignore */ "/src/y.js"), z = import(name), from = 3;
Array.from("/src/no.js");
"#;
        let wanted = ["/src/a.js", "/src/b.ts?t=1", "/src/pages/x.jsx", "/src/styles.css", "/src/y.js"];
        assert_eq!(imports_of(script), wanted);
    }

    #[test]
    fn loads_of_a_document_are_found() {
        let html = r#"<html><head><script type="module">import { inject } from "/@react-refresh";</script>
<script type="module" src="/src/main.jsx?a=1&amp;b"></script><link rel="icon" href="/x.png">
<script src="/classic.js"></script><script data-src="/no.js">1</script></head>"#;
        assert_eq!(loads_of_document(html), ["/@react-refresh", "/src/main.jsx?a=1&b"]);
    }
}
