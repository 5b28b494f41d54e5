//! The Markdown that comes out.

use std::fmt::Write;
use std::path::Path;

use crate::bench::Bench;
use crate::goals::Goal;
use crate::machine;

/// Between these lines stands what people write into the file; it is kept.
const NOTES: [&str; 2] = ["<!-- notes, written by hand -->", "<!-- end of notes -->"];

pub struct Report {
    head: String,
    quick: bool,
    goals: Vec<Goal>,
    body: String,
}

impl Report {
    pub fn new(bench: &Bench) -> Report {
        let options = &bench.options;
        let mut head = format!("# Performance\n\nMade by `{}`", options.command.trim_end_matches(" --").trim());
        if options.quick {
            head.push_str(", which shows that it runs and measures nothing");
        }
        let rounds = if options.rounds == 1 { "one round".into() } else { format!("{} rounds", options.rounds) };
        _ = writeln!(
            head,
            ": everything in one run,\nthe contenders in turn, each figure the median of {rounds}. Behind a time \
             stands in brackets how it compares with\nthe agent's: `2.00 x` took twice as long.\n"
        );
        for line in machine::describe().into_iter().chain([bench.tools.versions().join(", ")]) {
            _ = writeln!(head, "- {line}");
        }
        Report { head, quick: options.quick, goals: Vec::new(), body: String::new() }
    }

    /// A goal. Where nothing is to be measured, it was not, whatever came out.
    pub fn goal(&mut self, goal: Goal) {
        self.goals.push(if self.quick { goal.unmeasured() } else { goal });
    }

    pub fn heading(&mut self, title: &str) {
        _ = writeln!(self.body, "\n## {title}");
    }

    pub fn text(&mut self, text: &str) {
        _ = writeln!(self.body, "\n{text}");
    }

    pub fn table(&mut self, table: &Table) {
        _ = writeln!(self.body, "\n{}", table.markdown().trim_end());
    }

    pub fn markdown(&self) -> String {
        let mut goals = Table::new(&["what", "goal", "measured", ""]);
        for goal in &self.goals {
            goals.row(goal.row());
        }
        let goals = if self.goals.is_empty() { String::new() } else { format!("\n## Goals\n\n{}", goals.markdown()) };
        format!("{}{goals}\n{}\n{}\n{}", self.head, NOTES[0], NOTES[1], self.body)
    }
}

/// Writes the Markdown to `file`, with the notes that stand there.
pub fn write(file: &Path, markdown: &str) -> Result<(), String> {
    let kept = std::fs::read_to_string(file).ok().and_then(|text| Some(between(&text)?.to_owned()));
    let empty = between(markdown).expect("the markers of its own");
    let text = match kept {
        Some(notes) => {
            let marked = |notes: &str| format!("{}{notes}{}", NOTES[0], NOTES[1]);
            markdown.replacen(&marked(empty), &marked(&notes), 1)
        }
        None => markdown.to_owned(),
    };
    std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn between(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(NOTES[0])?;
    Some(rest.split_once(NOTES[1])?.0)
}

/// A table whose first column names the rows.
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    pub fn new<S: AsRef<str>>(columns: &[S]) -> Table {
        let names: Vec<_> = columns.iter().map(AsRef::as_ref).collect();
        let rules: Vec<_> = (0..names.len()).map(|at| if at == 0 { "---" } else { "---:" }).collect();
        Table { columns: names.len(), text: format!("| {} |\n| {} |\n", names.join(" | "), rules.join(" | ")) }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns, "a cell a column");
        _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    fn markdown(&self) -> &str {
        &self.text
    }
}

/// Seconds as people read them.
pub fn time(seconds: f64) -> String {
    match seconds * 1000.0 {
        ms if ms < 1.0 => format!("{ms:.3} ms"),
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{seconds:.1} s"),
    }
}

/// Bytes in MB, of a million each.
pub fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}
