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

/// Unix milliseconds as RFC 3339 in UTC. A time that no four-digit year has, gives the end of year 9999.
pub fn rfc3339_of(unix_ms: u64) -> String {
    let unix_ms = unix_ms.min(END_OF_9999_MS);
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let days = i64::try_from(seconds / 86_400).unwrap_or(0);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// For serde: never fails.
pub(crate) fn lenient<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(unix_ms(&serde_json::Value::deserialize(from)?))
}

/// Unix milliseconds of the year 9999's last second.
const END_OF_9999_MS: u64 = 253_402_300_799_999;

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
    let (fraction, zone) = split_fraction(text.get(19..)?);
    let digits = fraction.bytes().chain(*b"000").take(3);
    let ms = digits.fold(0_i64, |ms, digit| sum(&[product(ms, 10), i64::from(digit.saturating_sub(b'0'))]));
    let minutes = sum(&[product(hour, 60), minute, offset_minutes(zone)?.checked_neg()?]);
    let seconds = sum(&[product(days_since_1970(year, month, day), 86_400), product(minutes, 60), second]);
    u64::try_from(sum(&[product(seconds, 1_000), ms])).ok()
}

/// The digits of a fraction of a second, and the zone behind it.
fn split_fraction(rest: &str) -> (&str, &str) {
    let Some(fraction) = rest.strip_prefix('.') else { return ("", rest) };
    let end = fraction.bytes().take_while(u8::is_ascii_digit).count();
    fraction.split_at_checked(end).unwrap_or((fraction, ""))
}

/// The offset of `Z`, `+01`, `+0130` or `+01:30` in minutes.
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
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse().unwrap_or(0));
    Some(product(sign, sum(&[product(hours, 60), minutes])))
}

/// Days since 1970 of the proleptic Gregorian calendar, counted in years that begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { sum(&[year, -1]) } else { year };
    let month_from_march = sum(&[month, 9]) % 12;
    let day_of_year = sum(&[sum(&[product(153, month_from_march), 2]) / 5, day, -1]);
    let leap_days = sum(&[shifted.div_euclid(4), product(-1, shifted.div_euclid(100)), shifted.div_euclid(400)]);
    sum(&[product(365, shifted), leap_days, day_of_year, -719_468])
}

/// Year, month and day of a day since 1970: the reverse of [`days_since_1970`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = sum(&[days, 719_468]);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        sum(&[day_of_era, product(-1, day_of_era / 1_460), day_of_era / 36_524, product(-1, day_of_era / 146_096)])
            / 365;
    let before = sum(&[product(365, year_of_era), year_of_era / 4, product(-1, year_of_era / 100)]);
    let day_of_year = sum(&[day_of_era, product(-1, before)]);
    let month_from_march = sum(&[product(5, day_of_year), 2]) / 153;
    let day = sum(&[day_of_year, product(-1, sum(&[product(153, month_from_march), 2]) / 5), 1]);
    let month = if month_from_march < 10 { sum(&[month_from_march, 3]) } else { sum(&[month_from_march, -9]) };
    let year = sum(&[product(era, 400), year_of_era, i64::from(month <= 2)]);
    (year, month, day)
}

/// Arithmetic on what others sent never overflows: it stops at the bounds of the type.
fn sum(values: &[i64]) -> i64 {
    values.iter().fold(0, |sum: i64, value| sum.saturating_add(*value))
}

fn product(a: i64, b: i64) -> i64 {
    a.saturating_mul(b)
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
            "2026-11-21T02:51:36+00999999999999999999",
            "2026-11-21T02:51:36.5é",
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
        assert_eq!(rfc3339_of(u64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339_of(951_782_400_000), "2000-02-29T00:00:00.000Z");
    }
}
