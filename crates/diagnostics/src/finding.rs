//! One observation of something that is wrong, by whatever source.

sync_core::code_enum! {
    /// What a problem is about, and so which source can end it.
    pub enum Kind {
        /// The dev server cannot transform a module or a page.
        Build = "build",
        /// An uncaught error or an unhandled rejection in a page.
        Runtime = "runtime",
        /// `console.error` in a page.
        Console = "console",
        /// A script, style sheet or image that a page could not load.
        Resource = "resource",
        /// The package manager failed.
        Install = "install",
        /// The dev server did not start, or ended.
        Server = "server",
        /// `tsc` reports it.
        Type = "type",
    }
}

/// A position in a file of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Relative to the project, with `/`.
    pub file_path: String,
    /// Beginning at 1.
    pub line: Option<u32>,
    /// Beginning at 1.
    pub column: Option<u32>,
}

/// An observation, before it is a problem. Texts are bounded and free of secrets where they enter the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// The first sentence that a person reads.
    pub message: String,
    /// A reason code; of kinds `install` and `server` only.
    pub code: Option<&'static str>,
    /// Where, if it is known.
    pub place: Option<Place>,
    /// Lines of the source around the place.
    pub frame: Option<String>,
    /// The stack, with positions of sources as far as they are known.
    pub stack: Option<String>,
    /// The path of the page that reported it.
    pub page: Option<String>,
}

impl Finding {
    /// A finding of which only the message is known yet.
    pub fn new(kind: Kind, message: impl Into<String>) -> Finding {
        let message = message.into();
        Finding { kind, message, code: None, place: None, frame: None, stack: None, page: None }
    }
}
