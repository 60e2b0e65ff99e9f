//! The tables: what is sent, to which server mode, on which cores, and which figure counts.

use crate::peers::Mode;

/// Where server and generator run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The server on core 0, the generator on core 1.
    Split,
    /// Both on both cores, as the system likes.
    Shared,
}

/// The figure of a run that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Messages, or bytes, per second.
    Rate,
    /// The 99th percentile of the latency in microseconds; less is better.
    P99,
    /// Private memory per idle connection in bytes; less is better.
    Bytes,
}

impl Metric {
    /// True if a larger figure is the better one.
    pub fn more_is_better(self) -> bool {
        self == Self::Rate
    }
}

/// One line of a table: one workload for everybody who can serve it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The table it belongs to.
    pub table: &'static str,
    /// What is done, in words.
    pub name: String,
    /// What the server does.
    pub mode: Mode,
    /// Arguments of `loadgen`, the workload first.
    pub load: String,
    /// Extra arguments of `peer`.
    pub server: String,
    /// Where the two run.
    pub layout: Layout,
    /// What is compared.
    pub metric: Metric,
}

/// The tables in the order of the benchmark page.
pub const TABLES: &[&str] =
    &["tcp64", "deep", "large", "bulk", "connect", "udp", "tls", "both-cores", "idle", "compute", "slow"];

/// Large messages: a read buffer of 8 KiB would be the row's only subject.
const WIDE: &str = "--buffer 65536";

/// The rows of one table; empty if there is no such table.
pub fn rows(table: &str) -> Vec<Row> {
    let table = TABLES.iter().find(|known| **known == table).copied().unwrap_or_default();
    let row = |name: &str, mode, load: &str| Row {
        table,
        name: name.into(),
        mode,
        load: load.into(),
        server: String::new(),
        layout: Layout::Split,
        metric: Metric::Rate,
    };
    let echo = |name: &str, load: &str| row(name, Mode::Echo, &format!("tcp-echo {load}"));
    match table {
        "tcp64" => [1, 50, 1_000]
            .map(|count| echo(&format!("TCP 64 B, {count} conn."), &format!("--connections {count}")))
            .to_vec(),
        "deep" => vec![echo("TCP 64 B, 50 conn. × 16 deep", "--connections 50 --depth 16")],
        "large" => vec![echo("TCP 16 KiB, 50 conn.", "--connections 50 --size 16384").serving(WIDE)],
        "bulk" => bulk(row),
        "connect" => vec![row("connect, one message, close", Mode::Echo, "connect")],
        "udp" => [(64, 1), (64, 4), (1_200, 1), (1_200, 4)]
            .map(|(size, sockets)| {
                let load = format!("udp-echo --size {size} --connections {sockets}");
                row(&format!("UDP {size} B, {sockets} sockets"), Mode::Udp, &load)
            })
            .to_vec(),
        "tls" => vec![
            row("TLS 64 B, 50 conn.", Mode::Tls, "tls-echo --connections 50"),
            row("TLS 16 KiB, 8 conn.", Mode::Tls, "tls-echo --connections 8 --size 16384").serving(WIDE),
            row("TLS full handshakes", Mode::Tls, "tls-handshakes"),
        ],
        "both-cores" => vec![
            echo("both cores, 64 B, 50 conn.", "--connections 50").on(Layout::Shared),
            echo("both cores, 64 B, 50 conn. × 16 deep", "--connections 50 --depth 16").on(Layout::Shared),
        ],
        "idle" => vec![
            row("10,000 idle, bytes each", Mode::Echo, "idle --connections 10000").by(Metric::Bytes),
            row("10,000 idle TLS, bytes each", Mode::Tls, "tls-idle --connections 10000").by(Metric::Bytes),
        ],
        "compute" => [0, 10, 100]
            .map(|micros| {
                let name = format!("handler of {micros} µs, both cores, 50 conn.");
                echo(&name, "--connections 50").serving(&format!("--compute-us {micros}")).on(Layout::Shared)
            })
            .to_vec(),
        "slow" => vec![
            echo("1 slow handler (20 ms), 50 fast conn.: p99 in µs", "--connections 50 --slow-connections 1")
                .serving("--slow-us 20000")
                .on(Layout::Shared)
                .by(Metric::P99),
        ],
        _ => Vec::new(),
    }
}

fn bulk(row: impl Fn(&str, Mode, &str) -> Row) -> Vec<Row> {
    let one_way = [1, 8].map(|count| {
        row(&format!("bulk one way, {count} conn."), Mode::Sink, &format!("sink --connections {count}")).serving(WIDE)
    });
    let both_ways = [1, 8].map(|count| {
        let load = format!("bulk-echo --connections {count}");
        row(&format!("bulk echo of 64 KiB, {count} conn."), Mode::Echo, &load).serving(WIDE)
    });
    [one_way, both_ways].concat()
}

impl Row {
    fn serving(mut self, arguments: &str) -> Self {
        self.server = arguments.into();
        self
    }

    fn on(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    fn by(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Cores that the server may use.
    pub fn server_cores(&self) -> usize {
        if self.layout == Layout::Split { 1 } else { 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_rows_and_no_two_rows_share_a_name() {
        let all: Vec<Row> = TABLES.iter().flat_map(|table| rows(table)).collect();
        let names: std::collections::BTreeSet<&str> = all.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        assert!(TABLES.iter().all(|table| !rows(table).is_empty()));
    }
}
