//! The snapshot builder, and what it builds (contract, section 2).

use std::io::{Cursor, Read as _};

use local_backend::{BulkEntry, FileContent};
use reqwest::Method;
use serde_json::{Value, json};

use super::Record;
use crate::edge::world::now;

const PLACE: &str = "/build-project-snapshot";
const BUILT: &str = "200 built bytes object revision snapshot_expires_at snapshot_url";
const REUSED: &str = "200 built object revision snapshot_expires_at snapshot_url";

/// In the order in which they are to come: what a package manager reads, Vite's configuration, the page, and the rest by
/// the bytes of their paths, in which 𐀀 comes after ｚ though its UTF-16 units come before.
const ORDER: [&str; 27] = [
    ".preview/manifest.json",
    "app/package.json",
    "package.json",
    ".npmrc",
    ".pnpmfile.cjs",
    ".yarnrc",
    ".yarnrc.yml",
    "bun.lock",
    "bun.lockb",
    "bunfig.toml",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "yarn.lock",
    "app/vite.config.mjs",
    "vite.config.ts",
    "index.html",
    "a.txt",
    "empty",
    "logo.png",
    "message.txt",
    "server.js",
    "src/App.tsx",
    "whose.txt",
    "ｚ.txt",
    "𐀀.txt",
];

pub async fn ask(record: &mut Record<'_>) {
    let target = record.target;
    let build = async |token: Option<&str>, body: Value| target.edge(Method::POST, PLACE, token, body).await;
    let good = json!({"project_id": target.project});
    record.expect("build without a key", &build(None, good.clone()).await, "401 unauthenticated");
    record.expect("build as a person", &build(Some(&target.person), good.clone()).await, "401 unauthenticated");
    let agents = target.agent("x", now() + 60);
    record.expect("build as an agent", &build(Some(&agents), good.clone()).await, "401 unauthenticated");
    let service = Some(target.service.as_str());
    for body in [json!({}), json!({"project_id": "x"}), json!([]), json!({"project_id": target.project, "rebuild": 1})]
    {
        record.expect(&format!("build {body}"), &build(service, body).await, "400 invalid_request");
    }
    record.expect("build no JSON", &target.raw(PLACE, &target.service, "{").await, "400 invalid_request");
    let unknown = json!({"project_id": "99999999-9999-4999-8999-999999999999"});
    record.expect("build what is not there", &build(service, unknown).await, "404 PT404");
    let read = target.edge(Method::GET, PLACE, service, json!(null)).await;
    record.expect("GET", &read, "405 method_not_allowed");

    seed(record);
    let first = build(service, good.clone()).await;
    record.expect("build", &first, BUILT);
    let again = build(service, good.clone()).await;
    record.expect("build again", &again, REUSED);
    record.hold("the same object", again.body["object"] == first.body["object"], &format!("{first:?} {again:?}"));
    let rebuilt = build(service, json!({"project_id": target.project, "rebuild": true})).await;
    record.expect("rebuild", &rebuilt, BUILT);
    record.hold("another object", rebuilt.body["object"] != first.body["object"], &rebuilt.body.to_string());
    for (what, built) in [("built", &first), ("rebuilt", &rebuilt)] {
        let name = built.body["object"].as_str().unwrap_or_default();
        let stem =
            format!("{}/{}-{}", target.project, built.body["revision"], &target.backend.store().head().digest[..32]);
        record.hold(&format!("the name of what was {what}"), name.starts_with(&stem) && name.ends_with(".zip"), name);
        look_into(record, what, &built.body).await;
    }
    target.backend.store().upsert("later.txt", FileContent::Text("1".into()), None, "test").expect("saved");
    let later = build(service, good.clone()).await;
    record.expect("build a newer state", &later, BUILT);
    let newer = later.body["revision"].as_u64() > first.body["revision"].as_u64();
    record.hold("under its revision", newer && later.body["object"] != first.body["object"], &later.body.to_string());
    let listed = json!({"prefix": target.project, "limit": 100});
    let listed = target.place.ask(Method::POST, "/storage/v1/object/list/project-snapshots", service, listed).await;
    let names: Vec<String> = listed
        .body
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["name"].as_str().unwrap_or_default().into())
        .collect();
    let there =
        |built: &Value| names.iter().any(|name| built["object"].as_str().is_some_and(|object| object.ends_with(name)));
    let all = there(&first.body) && there(&rebuilt.body) && there(&later.body);
    record.hold("all three are in the bucket", all, &format!("{names:?}"));
}

/// The files of [`ORDER`] in one bulk, one of them binary.
fn seed(record: &Record<'_>) {
    let text = |path: &str| match path {
        "empty" => String::new(),
        "src/App.tsx" => "export default 1\n".repeat(1000),
        path => format!("{path}\n"),
    };
    let kept = ["logo.png", "message.txt", "server.js", "whose.txt", "package.json"];
    let seeded = ORDER.iter().skip(1).filter(|path| !kept.contains(path));
    let entry = |path: String, content: Option<FileContent>| BulkEntry { path, content, expected_version: None };
    let mut entries: Vec<BulkEntry> =
        seeded.map(|path| entry((*path).into(), Some(FileContent::Text(text(path))))).collect();
    // Of whom the project is stands in a file of that name; not here.
    let marks = record.target.backend.store().current().into_iter().filter(|row| row.path.contains("of-"));
    entries.extend(marks.map(|row| entry(row.path, None)));
    record.target.backend.store().bulk(entries, "test").expect("saved");
}

async fn look_into(record: &mut Record<'_>, what: &str, built: &Value) {
    let url = built["snapshot_url"].as_str().unwrap_or_default();
    let zip = record.target.place.http.get(url).send().await.expect("an answer").bytes().await.expect("a body");
    record.hold("its size", built["bytes"] == json!(zip.len()), &format!("{} {built}", zip.len()));
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).expect("a zip");
    let mut entries = Vec::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).expect("an entry");
        let (name, mut bytes) = (entry.name().expect("text").into_owned(), Vec::new());
        entry.read_to_end(&mut bytes).expect("whole, and its checksum right");
        entries.push((name, bytes));
    }
    let all = sync_core::rules::LOCK_FILES.iter().all(|name| ORDER.contains(name));
    record.hold("no name is forgotten", all, &format!("{:?}", sync_core::rules::LOCK_FILES));
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    record.hold(&format!("the order of what was {what}"), names == ORDER, &format!("{names:?}"));
    let manifest: Value = serde_json::from_slice(&entries[0].1).expect("JSON");
    let about = [&manifest["format"], &manifest["project_id"], &manifest["revision"]];
    let right = about == [&json!(1), &json!(record.target.project), &built["revision"]];
    record.hold("what its manifest says", right && manifest["created_at"].is_string(), &manifest.to_string());
    let rows = record.target.backend.store().current();
    let listed: Vec<Value> = rows
        .iter()
        .map(|row| json!({"file_path": row.path, "version": row.version, "content_hash": row.content_hash, "size": row.size}))
        .collect();
    let mut files = manifest["files"].as_array().cloned().unwrap_or_default();
    let sorted = files.is_sorted_by_key(|file| file["file_path"].as_str().unwrap_or_default().as_bytes().to_vec());
    record.hold("its manifest is in the order of paths", sorted, &manifest["files"].to_string());
    let by_path = |a: &Value, b: &Value| a["file_path"].as_str().cmp(&b["file_path"].as_str());
    files.sort_by(by_path);
    let mut listed = listed;
    listed.sort_by(by_path);
    record.hold("its manifest lists the table", files == listed, &format!("{files:?}\n{listed:?}"));
    for (name, bytes) in &entries[1..] {
        let row = rows.iter().find(|row| row.path == *name).and_then(|row| row.bytes.as_deref());
        record.hold(&format!("the bytes of {name}"), row == Some(bytes), "others than the table's");
    }
}
