//! Positions of scripts as dev servers serve them, and hostile texts in their place.

use diagnostics::{Kind, Located, PageEvent, ProjectRoot, SourceMaps};
use proptest::prelude::*;
use sourcemap::SourceMapBuilder;

const FILES: [&str; 5] = ["src/App.jsx", "src/util.ts", "app/page.tsx", "public/plain.js", "index.html"];

fn error(stack: &str) -> PageEvent {
    PageEvent::Error {
        kind: Kind::Runtime,
        message: "TypeError: x".to_owned(),
        stack: Some(stack.to_owned()),
        url: None,
        line: None,
        column: None,
        count: 1,
    }
}

/// A map of line 11, column 3 of the script to line 5, column 7 of the source.
fn map(source: &str) -> String {
    let mut builder = SourceMapBuilder::new(None);
    builder.add(0, 0, 0, 0, Some(source), None, false);
    builder.add(10, 2, 4, 6, Some(source), None, false);
    let mut json = Vec::new();
    builder.into_sourcemap().to_writer(&mut json).expect("written");
    String::from_utf8(json).expect("UTF-8")
}

fn inline(source: &str) -> String {
    let mut builder = SourceMapBuilder::new(None);
    builder.add(0, 0, 0, 0, Some(source), None, false);
    builder.add(10, 2, 4, 6, Some(source), None, false);
    let url = builder.into_sourcemap().to_data_url().expect("an address");
    format!("const text = `\n//# sourceMappingURL=other.map\n`\n//# sourceMappingURL={url}")
}

fn root() -> ProjectRoot {
    ProjectRoot::new(["/cache/project".to_owned()])
}

/// Locates an event with a dev server that has these texts.
fn locate(event: &PageEvent, texts: &[(&str, &str)]) -> Located {
    let mut maps = SourceMaps::default();
    loop {
        let needed = maps.needed(event);
        if needed.is_empty() {
            return maps.locate(event, &root(), |path| FILES.contains(&path));
        }
        for address in needed {
            let text = texts.iter().find(|(own, _)| *own == address).map(|(_, text)| *text);
            maps.add(&address, text);
        }
    }
}

fn place(located: &Located) -> Option<(&str, Option<u32>, Option<u32>)> {
    located.place.as_ref().map(|place| (place.file_path.as_str(), place.line, place.column))
}

#[test]
fn the_first_frame_of_the_project_is_the_place() {
    let stack = "TypeError: x\n    at record (/.preview-agent/page.js?v=1:2:3)\n    at h (/node_modules/.vite/deps/react.js?v=1:9:9)\n    \
        at App (/src/App.jsx?t=1:11:3)\n    at f (https://cdn.test/x.js:1:1)";
    let located = locate(&error(stack), &[("/src/App.jsx?t=1", &inline("App.jsx"))]);
    assert_eq!(place(&located), Some(("src/App.jsx", Some(5), Some(7))));
    let wanted = "TypeError: x\n    at h (/node_modules/.vite/deps/react.js?v=1:9:9)\n    at App (src/App.jsx:5:7)\n    \
        at f (https://cdn.test/x.js:1:1)";
    assert_eq!(located.stack.as_deref(), Some(wanted));
}

#[test]
fn firefox_and_safari_write_other_stacks() {
    for stack in ["App@/src/App.jsx:11:3\n", "/src/App.jsx:11:3"] {
        let located = locate(&error(stack), &[("/src/App.jsx", &inline("App.jsx"))]);
        assert_eq!(place(&located), Some(("src/App.jsx", Some(5), Some(7))), "{stack}");
    }
}

#[test]
fn sources_are_named_in_many_ways() {
    for (script, source, wanted) in [
        ("/src/App.jsx", "/cache/project/src/App.jsx", "src/App.jsx"),
        ("/src/App.jsx", "file:///cache/project/src/App.jsx", "src/App.jsx"),
        ("/base/path/src/App.jsx", "App.jsx", "src/App.jsx"),
        ("/@fs/cache/project/src/App.jsx", "App.jsx", "src/App.jsx"),
        ("/_nuxt/@fs/cache/project/src/App.jsx", "App.jsx", "src/App.jsx"),
        ("/src/App.jsx", "./util.ts", "src/util.ts"),
        ("/_next/static/chunks/a.js", "turbopack:///[project]/app/page.tsx", "app/page.tsx"),
        ("/_next/static/chunks/a.js", "webpack://_N_E/./app/page.tsx?abcd", "app/page.tsx"),
        ("/assets/index-1.js", "../../src/App.jsx", "src/App.jsx"),
    ] {
        let located = locate(&error(&format!("    at f ({script}:11:3)")), &[(script, &inline(source))]);
        assert_eq!(place(&located), Some((wanted, Some(5), Some(7))), "{script} {source}");
    }
}

#[test]
fn a_map_may_be_a_file_of_its_own() {
    let event = error("    at f (/_next/static/chunks/a.js:11:3)");
    let texts = [
        ("/_next/static/chunks/a.js", "a()\n//# sourceMappingURL=a.js.map?x=1"),
        ("/_next/static/chunks/a.js.map?x=1", &map("turbopack:///[project]/app/page.tsx")),
    ];
    assert_eq!(place(&locate(&event, &texts)), Some(("app/page.tsx", Some(5), Some(7))));
    let sections = format!(
        r#"{{"version":3,"sections":[{{"offset":{{"line":100,"column":0}},"map":{}}}]}}"#,
        map("turbopack:///[project]/src/util.ts")
    );
    let event = error("    at f (/_next/static/chunks/a.js:111:3)");
    let texts = [texts[0], ("/_next/static/chunks/a.js.map?x=1", &sections)];
    assert_eq!(place(&locate(&event, &texts)), Some(("src/util.ts", Some(5), Some(7))));
}

#[test]
fn without_a_map_a_script_is_its_own_source() {
    let located = locate(&error("    at f (/public/plain.js:3:4)"), &[("/public/plain.js", "a()")]);
    assert_eq!(place(&located), Some(("public/plain.js", Some(3), Some(4))));
    let mut event = error("");
    if let PageEvent::Error { url, line, column, .. } = &mut event {
        (*url, *line, *column) = (Some("/public/plain.js".to_owned()), Some(3), None);
    }
    assert_eq!(place(&locate(&event, &[("/public/plain.js", "a()")])), Some(("public/plain.js", Some(3), Some(1))));
}

#[test]
fn without_an_answer_only_the_file_is_known() {
    assert_eq!(place(&locate(&error("    at f (/src/App.jsx:3:4)"), &[])), Some(("src/App.jsx", None, None)));
    let webpack = "    at f (webpack-internal:///(app)/./app/page.tsx:12:9)";
    assert_eq!(place(&locate(&error(webpack), &[])), Some(("app/page.tsx", None, None)));
    // Dev servers add to documents.
    assert_eq!(place(&locate(&error("    at /:3:4"), &[("/", "<!doctype html>")])), Some(("index.html", None, None)));
}

#[test]
fn what_is_not_of_the_project_is_not_asked_for_and_has_no_place() {
    for stack in [
        "    at f (https://evil.test/src/App.jsx:1:1)",
        "    at f (//evil.test/src/App.jsx:1:1)",
        "    at f (/node_modules/x/index.js:1:1)",
        "    at f (/@vite/client:1:1)",
        "    at f (/.preview-agent/page.js:1:1)",
        "    at f (<anonymous>)",
        "",
    ] {
        let event = error(stack);
        assert_eq!(SourceMaps::default().needed(&event), [""; 0], "{stack}");
        assert_eq!(place(&locate(&event, &[])), None, "{stack}");
    }
    for source in ["/etc/passwd", "../../../../etc/passwd", "file:///etc/passwd", "https://evil.test/src/App.jsx"] {
        let located = locate(&error("    at f (/src/App.jsx:11:3)"), &[("/src/App.jsx", &inline(source))]);
        assert_eq!(place(&located), None, "{source}");
    }
    assert_eq!(SourceMaps::default().needed(&PageEvent::Loaded), [""; 0]);
}

#[test]
fn a_stack_of_many_scripts_asks_for_few() {
    let stack: String = (0..1000).map(|number| format!("    at f (/src/{number}.js:1:1)\n")).collect();
    let event = error(&stack);
    let needed = SourceMaps::default().needed(&event);
    assert_eq!(needed.len(), 10);
    assert_eq!(locate(&event, &[]).stack.map(|stack| stack.lines().count()), Some(20));
}

proptest! {
    #[test]
    fn hostile_maps_lead_to_no_panic(
        mappings in "[A-Za-z0-9+/;,=_é-]{0,80}",
        sources in prop::collection::vec("\\PC{0,20}", 0..3),
        (line, column) in (any::<u32>(), any::<u32>()),
        offset in (any::<u32>(), any::<u32>()),
        extra in "\\PC{0,40}",
    ) {
        let inner = serde_json::json!({"version": 3, "sources": sources, "mappings": mappings, "names": [extra], "rangeMappings": mappings});
        let sections = serde_json::json!({"version": 3, "sections": [
            {"offset": {"line": offset.0, "column": offset.1}, "map": inner},
            {"offset": {"line": 0, "column": 0}, "map": inner},
        ]});
        let (inner, sections) = (inner.to_string(), sections.to_string());
        for map in [inner.as_str(), &sections, &extra] {
            for line in [line, 0, 1, 2, u32::MAX] {
                let event = error(&format!("    at f (/src/App.jsx:{line}:{column})"));
                locate(&event, &[("/src/App.jsx", "//# sourceMappingURL=x.map"), ("/src/x.map", map)]);
            }
        }
    }

    #[test]
    fn hostile_scripts_and_stacks_lead_to_no_panic(
        stack in "(    at |f|@|/src/App.jsx|:1:1|:|\\(|\\)|\\.\\.|/|\n|é|\\?){0,30}",
        script in "(//# sourceMappingURL=|data:application/json;base64,|[A-Za-z0-9]{0,9}|\\.\\./|\\?|é|\n){0,12}",
    ) {
        let texts = [("/src/App.jsx", script.as_str())];
        locate(&error(&stack), &texts);
        locate(&error("    at f (/src/App.jsx:1:1)"), &texts);
    }
}
