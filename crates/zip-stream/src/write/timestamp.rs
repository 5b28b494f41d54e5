/// 1980-01-01, the first day that a zip can express, in seconds since 1970.
pub(super) const YEAR_1980: u64 = 315_532_800;
/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can express.
const YEAR_9999_END: u64 = 253_402_300_799;

/// `seconds` since 1970 as RFC 3339 in UTC. Howard Hinnant's algorithm days-to-civil: years begin in March, so that a leap
/// day is the last day of a year. Dates beyond the year 9999 are cut to its last second.
#[allow(clippy::arithmetic_side_effects, reason = "the argument is bounded")]
pub(super) fn rfc3339(seconds: u64) -> String {
    let seconds = seconds.min(YEAR_9999_END);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let year = year + era * 400;
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_seconds_as_rfc3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (YEAR_1980, "1980-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_238_055, "2026-11-21T05:14:15Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
