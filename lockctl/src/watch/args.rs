//! The arguments of `watch`.

use std::time::Duration;

use clap::Args;

/// The arguments of the live view.
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// Time between two readings of the store, fractions allowed, at least 0.1
    #[arg(short = 'n', long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Time from which a hold is in trouble
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) hold: Duration,
    /// Time from which a wait is in trouble
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) wait: Duration,
    /// Print lines also on a terminal
    #[arg(long)]
    pub(crate) plain: bool,
    /// Print each line as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, such as 10 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    match seconds(text)? {
        interval if interval < LEAST => Err("the interval is at least 0.1".to_owned()),
        interval => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_and_are_not_negative() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for bad in ["-1", "nan", "inf", "1e30", "", "1s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_interval_is_at_least_a_tenth_of_a_second() {
        assert_eq!(interval("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(interval("60"), Ok(Duration::from_secs(60)));
        for bad in ["0", "0.09", "-1", "nan", "often"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
