use serde::Deserialize;

/// Unix milliseconds of an RFC 3339 text or of a number that already is milliseconds. Anything else is nothing: the
/// field is for information only.
pub(crate) fn unix_ms(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::Number(ms) => {
            ms.as_u64().or_else(|| ms.as_f64().filter(|ms| *ms >= 0.0).map(|ms| ms as u64))
        }
        serde_json::Value::String(text) => rfc3339(text),
        _ => None,
    }
}

/// Unix milliseconds as RFC 3339 in UTC.
pub(crate) fn rfc3339_of(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let (mut year, mut days) = (1970, (seconds / 86_400) as i64);
    // Whole 400-year cycles first, so that an absurd clock takes no longer than a sane one.
    year += days / 146_097 * 400;
    days %= 146_097;
    let start_of = |year, month| days_since_1970(year, month, 1) - days_since_1970(year, 1, 1);
    while days >= start_of(year, 13) {
        days -= start_of(year, 13);
        year += 1;
    }
    let month = (1..=12).rev().find(|month| start_of(year, *month) <= days).unwrap_or(1);
    let day = days - start_of(year, month) + 1;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// For serde: never fails.
pub(crate) fn lenient<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(unix_ms(&serde_json::Value::deserialize(from)?))
}

fn rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separator = |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|byte| allowed.contains(byte));
    let plain =
        separator(4, b"-") && separator(7, b"-") && separator(10, b"Tt ") && separator(13, b":") && separator(16, b":");
    if !plain {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let fraction =
        rest.strip_prefix('.').map_or("", |rest| &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()]);
    let ms = fraction.bytes().chain(*b"000").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    let zone = rest.get(if rest.starts_with('.') { fraction.len() + 1 } else { 0 }..)?;
    let offset = offset_minutes(zone)?;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
    u64::try_from(seconds * 1_000 + ms).ok()
}

fn offset_minutes(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z" | "") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..).filter(|m| !m.is_empty()));
    Some(sign * (hours * 60 + minutes.map_or(Some(0), |m| m.parse::<i64>().ok())?))
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + (month - 1) / 12, (month - 1) % 12 + 1);
    let shifted = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    365 * shifted + shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_databases_and_browsers_write() {
        let ms = |text: &str| unix_ms(&serde_json::Value::from(text));
        assert_eq!(ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(ms("2026-11-21T02:51:36.878279+00:00"), Some(1_795_229_496_878));
        assert_eq!(ms("2026-11-21T03:51:36.8+01:00"), Some(1_795_229_496_800));
        assert_eq!(ms("2026-11-20 21:51:36-05"), Some(1_795_229_496_000));
        assert_eq!(ms("2024-02-29T12:00:00.000Z"), Some(1_709_208_000_000));
        assert_eq!(unix_ms(&serde_json::json!(1_795_229_496_878u64)), Some(1_795_229_496_878));
        for nonsense in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-11-21T02:51:36+aé",
            "1969-01-01T00:00:00Z",
            "é026-11-21T02:51:36Z",
        ] {
            assert_eq!(ms(nonsense), None, "{nonsense}");
        }
        assert_eq!(unix_ms(&serde_json::json!({"at": 1})), None);
    }

    #[test]
    fn writes_what_it_reads() {
        assert_eq!(rfc3339_of(0), "1970-01-01T00:00:00.000Z");
        for ms in [1_709_208_000_000, 1_795_229_496_878, 951_782_399_999, 4_102_444_799_001, 1_735_689_599_999] {
            assert_eq!(unix_ms(&rfc3339_of(ms).into()), Some(ms), "{}", rfc3339_of(ms));
        }
        assert!(rfc3339_of(u64::MAX).ends_with('Z'));
    }
}
