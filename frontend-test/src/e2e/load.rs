//! Load from the usual tools, `ab` and `redis-benchmark`, with their figures.

use std::net::SocketAddr;
use std::process::Command;

/// The figures that a tool measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The number of requests per second.
    pub rate: f64,
    /// The median time of a request, in milliseconds.
    pub p50_ms: f64,
    /// The time below which 99 of 100 requests are, in milliseconds.
    pub p99_ms: f64,
}

/// The load that a tool makes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The number of all requests.
    pub requests: u32,
    /// The number of connections at the same time.
    pub connections: u32,
    /// Whether `ab` makes several requests on a connection. (`redis-benchmark` always does.)
    pub keepalive: bool,
}

/// Runs `ab`, and returns its figures.
///
/// # Errors
///
/// Returns an error if the tool cannot be started, gives up, or counts a failed request.
pub fn ab(address: SocketAddr, path: &str, load: Load) -> Result<Figures, String> {
    let url = format!("http://{address}{path}");
    let mut command = Command::new("ab");
    // The option -s bounds the time of an answer, which must include a fail-over.
    command.args(["-q", "-s", "30", "-n", &load.requests.to_string()]);
    command.args(["-c", &load.connections.to_string(), "-e", "/dev/stderr"]);
    if load.keepalive {
        command.arg("-k");
    }
    let output = command.arg(&url).output().map_err(|error| format!("ab: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let percentiles = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("ab {url}: {}{percentiles}", text.trim()));
    }
    read_ab(&text, &percentiles, load.requests).map_err(|why| format!("ab {url}: {why}\n{text}"))
}

fn read_ab(text: &str, percentiles: &str, requests: u32) -> Result<Figures, String> {
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    if figure("Complete requests:") != Some(f64::from(requests)) {
        return Err("not all requests are complete".to_owned());
    }
    if figure("Failed requests:") != Some(0.0) || figure("Non-2xx responses:").is_some() {
        return Err("failed requests".to_owned());
    }
    let rate = figure("Requests per second:").ok_or("no rate")?;
    let below = |share: &str| {
        let time = percentiles.lines().find_map(|line| line.strip_prefix(share)?.parse().ok());
        time.ok_or_else(|| format!("no percentile {share}"))
    };
    Ok(Figures { rate, p50_ms: below("50,")?, p99_ms: below("99,")? })
}

/// Runs `redis-benchmark`, and returns the figures of each test of `tests` (`set,get`), in order.
///
/// # Errors
///
/// Returns an error if the tool cannot be started or fails.
pub fn redis_benchmark(
    address: SocketAddr,
    tests: &str,
    load: Load,
) -> Result<Vec<Figures>, String> {
    let output = Command::new("redis-benchmark")
        .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(["-n", &load.requests.to_string(), "-c", &load.connections.to_string()])
        .args(["-t", tests, "--csv"])
        .output()
        .map_err(|error| format!("redis-benchmark: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let figures: Vec<Figures> = text.lines().filter_map(read_csv).collect();
    if !output.status.success() || figures.len() != tests.split(',').count() {
        return Err(format!("redis-benchmark {address}: {} {text} {errors}", output.status));
    }
    Ok(figures)
}

/// Parses a line such as `"SET","95238.09","0.136","0.040","0.127",…`, which has the rate and the
/// average and least times, those of percentiles 50, 95 and 99, and the longest.
fn read_csv(line: &str) -> Option<Figures> {
    let cells: Vec<&str> = line.split(',').map(|cell| cell.trim_matches('"')).collect();
    let figure = |place: usize| cells.get(place)?.parse().ok();
    Some(Figures { rate: figure(1)?, p50_ms: figure(4)?, p99_ms: figure(6)? })
}

/// Runs statements by the client `mariadb`, as the user of [`program::mariadb`], and returns its
/// output.
///
/// # Errors
///
/// Returns what the client says.
///
/// [`program::mariadb`]: super::program::mariadb
pub fn mariadb(address: SocketAddr, statements: &str) -> Result<String, String> {
    let output = mariadb_client(address)
        .args(["--execute", statements])
        .output()
        .map_err(|error| format!("mariadb: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{statements}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Returns the command of the client `mariadb`, as the user of [`program::mariadb`], which prints
/// each row as soon as it has it.
///
/// [`program::mariadb`]: super::program::mariadb
pub(super) fn mariadb_client(address: SocketAddr) -> Command {
    let mut command = Command::new("mariadb");
    command
        .args(["--no-defaults", "--user=app", "--skip-column-names", "--batch", "--unbuffered"])
        .args(["--protocol=tcp", "--connect-timeout=10"])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_requests_are_failures() {
        let text = "Complete requests: 10\nFailed requests: 1\nRequests per second: 5.0 [#/sec]\n";
        assert!(read_ab(text, "50,0.9", 10).is_err());
        let text = text.replace("requests: 1\n", "requests: 0\n");
        let times = "50,0.9\n99,2.5";
        let figures = Figures { rate: 5.0, p50_ms: 0.9, p99_ms: 2.5 };
        assert_eq!(read_ab(&text, times, 10), Ok(figures));
        assert!(read_ab(&text, times, 11).is_err());
        assert!(read_ab(&format!("{text}Non-2xx responses: 3\n"), times, 10).is_err());
    }

    #[test]
    fn csv_is_read_by_its_columns() {
        let line = r#""SET","95238.09","0.136","0.040","0.127","0.199","0.399","0.943""#;
        let figures = Figures { rate: 95238.09, p50_ms: 0.127, p99_ms: 0.399 };
        assert_eq!(read_csv(line), Some(figures));
        assert_eq!(read_csv(r#""test","rps","avg","min","p50""#), None);
    }
}
