//! The codes of refusals: SQLSTATEs of the database and codes of PostgREST.

/// A code that the backend itself answers with. Codes of a PostgreSQL are passed on as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The expected version is not the current one.
    VersionConflict,
    /// The file, the version or the project does not exist.
    NotFound,
    /// Rate limit of writes.
    TooManyWrites,
    /// A value or a path is not allowed.
    InvalidValue,
    /// Text that the type does not accept.
    InvalidText,
    /// A NUL in text.
    NulInText,
    /// The caller has no right.
    NoRight,
    /// The store is full.
    Full,
    /// A write by GET.
    ReadOnly,
    /// A write to every row of a table.
    MissingWhere,
    /// The database cannot be reached.
    ConnectionFailure,
    /// A fault that was asked for.
    Internal,
    /// The query string is not understood.
    BadQuery,
    /// The body is not JSON.
    BadJson,
    /// No such function.
    NoFunction,
    /// No such table.
    NoTable,
    /// PostgREST's own code for a database that cannot be reached.
    NoDatabase,
    /// The token is not valid.
    InvalidToken,
    /// The token has expired.
    ExpiredToken,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 19] = [
        Code::VersionConflict,
        Code::NotFound,
        Code::TooManyWrites,
        Code::InvalidValue,
        Code::InvalidText,
        Code::NulInText,
        Code::NoRight,
        Code::Full,
        Code::ReadOnly,
        Code::MissingWhere,
        Code::ConnectionFailure,
        Code::Internal,
        Code::BadQuery,
        Code::BadJson,
        Code::NoFunction,
        Code::NoTable,
        Code::NoDatabase,
        Code::InvalidToken,
        Code::ExpiredToken,
    ];

    /// The code as answers carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::VersionConflict => "PT409",
            Code::NotFound => "PT404",
            Code::TooManyWrites => "PT429",
            Code::InvalidValue => "22023",
            Code::InvalidText => "22P02",
            Code::NulInText => "22P05",
            Code::NoRight => "42501",
            Code::Full => "53100",
            Code::ReadOnly => "25006",
            Code::MissingWhere => "21000",
            Code::ConnectionFailure => "08006",
            Code::Internal => "XX000",
            Code::BadQuery => "PGRST100",
            Code::BadJson => "PGRST102",
            Code::NoFunction => "PGRST202",
            Code::NoTable => "PGRST205",
            Code::NoDatabase => "PGRST001",
            Code::InvalidToken => "PGRST301",
            Code::ExpiredToken => "PGRST303",
        }
    }

    /// The code of that name.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_name_of_its_own() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        assert_eq!(Code::parse("22000"), None);
    }
}
