//! Scripts that only start the script of another directory of the project.

use std::path::{Component, Path, PathBuf};

/// Characters with a meaning for a shell, besides `&&`.
const SHELL: [char; 13] = ['|', ';', '$', '`', '"', '\'', '\\', '<', '>', '(', ')', '*', '='];

/// The directory whose script of the same name a script starts, relative to its own; `None` where it does anything else.
/// Known are `cd DIR && npm run dev` and the options of the package managers that name a directory.
pub(super) fn delegated(script: &str, name: &str) -> Option<PathBuf> {
    let (folder, call) = match script.split_once("&&") {
        Some((change, call)) => (Some(change.trim().strip_prefix("cd ")?.trim()), call),
        None => (None, script),
    };
    if call.contains('&') || script.contains(SHELL) {
        return None;
    }
    let named = run_in(call, name)?;
    match (folder, named) {
        (Some(folder), None) => inside(folder),
        (None, Some(folder)) => inside(folder),
        // Neither names one, or both do.
        _ => None,
    }
}

/// The directory that a package manager's call names, where it runs the script `name` and has no other arguments.
fn run_in<'a>(call: &'a str, name: &str) -> Option<Option<&'a str>> {
    let mut words = call.split_whitespace();
    if !matches!(words.next()?, "npm" | "pnpm" | "yarn" | "bun") {
        return None;
    }
    let (mut folder, mut runs) = (None, false);
    while let Some(word) = words.next() {
        match word {
            "--prefix" | "--cwd" | "--dir" | "-C" if folder.is_none() => folder = Some(words.next()?),
            "run" | "run-script" if !runs => {}
            word if word == name && !runs => runs = true,
            _ => return None,
        }
    }
    runs.then_some(folder)
}

/// A path that stays below its directory.
fn inside(folder: &str) -> Option<PathBuf> {
    let path = Path::new(folder);
    let stays = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let clean: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    (stays && !clean.as_os_str().is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_only_enter_a_directory_are_recognized() {
        for script in [
            "npm run dev --prefix web",
            "npm --prefix ./web run dev",
            "cd web && npm run dev",
            "cd ./web/ && yarn dev",
            "yarn --cwd web dev",
            "pnpm -C web dev",
            "pnpm --dir web run dev",
        ] {
            assert_eq!(delegated(script, "dev"), Some("web".into()), "{script}");
        }
        assert_eq!(delegated("npm start --prefix web", "start"), Some("web".into()));
    }

    #[test]
    fn everything_else_is_left_to_the_script() {
        for script in [
            "vite",
            "npm run dev",
            "npm run build --prefix web",
            "npm run dev --prefix ../web",
            "npm run dev --prefix /web",
            "npm run dev --prefix web -- --port 1",
            "cd web && npm run dev & node api.js",
            "cd web && npm run dev && true",
            "cd web && npm --prefix other run dev",
            "cd $HOME && npm run dev",
            "cd . && npm run dev",
            "pnpm --filter web dev",
        ] {
            assert_eq!(delegated(script, "dev"), None, "{script}");
        }
    }
}
