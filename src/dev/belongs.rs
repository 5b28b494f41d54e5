use super::folder::is_scratch;

/// Whether `path` is part of the project: not `node_modules`, `.git`, what a build makes, or an editor's own.
pub fn belongs(path: &str) -> bool {
    const NEVER: [&str; 3] = ["node_modules", ".git", ".preview"];
    const BUILT: [&str; 7] = ["dist", "build", ".next", ".nuxt", ".svelte-kit", ".turbo", ".vite"];
    path.split('/').all(|part| !NEVER.contains(&part) && !BUILT.contains(&part) && !is_scratch(part))
}
