//! Times and durations as people write them: `90s`, `2h`, RFC 3339.

use std::time::{Duration, UNIX_EPOCH};

/// The last millisecond that RFC 3339 can name: the end of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

/// A time to live as given on the command line: at least a millisecond.
pub(crate) fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 90s or 2h"))?;
    if ttl < Duration::from_millis(1) {
        return Err("a time to live is at least 1ms".to_string());
    }
    Ok(ttl)
}

/// Wall-clock milliseconds since 1970 in RFC 3339, UTC.
pub(crate) fn rfc3339(ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS));
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_ttl("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_ttl("1ms"), Ok(Duration::from_millis(1)));
        for wrong in ["", "5", "0s", "10us", "-1s", "1 parsec"] {
            assert!(parse_ttl(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_rfc_3339_even_at_the_far_end() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
