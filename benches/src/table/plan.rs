//! The tables: what is sent, to which server mode, on which cores, and which figure counts.

use crate::peers::Mode;
use crate::spread::grouped;

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

/// Which contenders take part in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// All that have the mode.
    All,
    /// The loops, tokio and longshore. The others would only repeat what a smaller row says of them.
    Core,
    /// All that have the mode, and longshore's sessions: a handler that takes long holds up its own connection only.
    Slow,
    /// Longshore, tokio's multi-thread runtime and message-io.
    OpenLoop,
}

/// Longshore's goals. Ratios are paired, above 1 is better; none means that there is no goal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goals {
    /// At least this ratio to the best tokio flavor.
    pub tokio: Option<f64>,
    /// At least this ratio to the epoll loop.
    pub epoll: Option<f64>,
    /// With two workers, at least this ratio to itself with one.
    pub own: Option<f64>,
    /// At most this many system calls per message.
    pub syscalls: Option<f64>,
    /// At most this many bytes per connection.
    pub bytes: Option<f64>,
}

/// The usual goal: the best tokio flavor, and nearly the hand-written loop.
const EQUAL: Goals = Goals {
    tokio: Some(1.0),
    epoll: Some(0.95),
    own: None,
    syscalls: None,
    bytes: None,
};
/// No goal: the row is shown for information.
const NO_GOALS: Goals = Goals {
    tokio: None,
    epoll: None,
    own: None,
    syscalls: None,
    bytes: None,
};

/// One line of a table: one workload for all contenders that can serve it.
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
    /// Arguments of a second `loadgen` that runs meanwhile, in the idle class, against the second address of `peer`.
    pub beside: Option<&'static str>,
    /// Where the two run.
    pub layout: Layout,
    /// What is compared.
    pub metric: Metric,
    /// True if the processor time decides, and not the rate, because the row is about what a core gives.
    pub per_core: bool,
    /// Which contenders take part.
    pub field: Field,
    /// Longshore's goals.
    pub goals: Goals,
}

/// The tables in the order of the benchmark page.
pub const TABLES: &[&str] = &[
    "tcp64",
    "deep",
    "large",
    "bulk",
    "connect",
    "udp",
    "tls",
    "openloop",
    "both-cores",
    "idle",
    "compute",
    "slow",
];

/// Messages in a second of the rows of the open loop.
pub const OPEN_LOOP_RATES: [u32; 2] = [20_000, 60_000];
/// Their connections.
pub const OPEN_LOOP_CONNECTIONS: [u32; 2] = [50, 1_000];

/// The read buffer for large messages: one of 8 KiB would dominate the row.
const WIDE: &str = "--buffer 65536";

/// The rows of one table; empty if there is no such table.
pub fn rows(table: &str) -> Vec<Row> {
    let table = TABLES
        .iter()
        .find(|known| **known == table)
        .copied()
        .unwrap_or_default();
    let row = |name: &str, mode, load: &str| Row::new(table, name, mode, load);
    let echo = |name: &str, load: &str| row(name, Mode::Echo, &format!("tcp-echo {load}"));
    match table {
        "tcp64" => vec![
            echo("TCP 64 B, 1 conn.", "--connections 1").aiming_at(Goals {
                syscalls: Some(3.0),
                ..EQUAL
            }),
            echo("TCP 64 B, 50 conn.", "--connections 50").aiming_at(Goals {
                syscalls: Some(2.05),
                ..EQUAL
            }),
            echo("TCP 64 B, 1,000 conn.", "--connections 1000").aiming_at(Goals {
                tokio: Some(1.05),
                ..EQUAL
            }),
        ],
        "deep" => vec![
            echo(
                "TCP 64 B, 50 conn. × 16 deep",
                "--connections 50 --depth 16",
            )
            .aiming_at(Goals {
                tokio: Some(1.1),
                epoll: Some(1.0),
                ..NO_GOALS
            }),
        ],
        "large" => {
            vec![echo("TCP 16 KiB, 50 conn.", "--connections 50 --size 16384").serving(WIDE)]
        }
        "bulk" => bulk(row),
        "connect" => vec![row("connect, one message, close", Mode::Echo, "connect")],
        "udp" => [("64", 1), ("64", 4), ("1,200", 1), ("1,200", 4)]
            .map(|(size, sockets)| {
                let load = format!(
                    "udp-echo --size {} --connections {sockets}",
                    size.replace(',', "")
                );
                let name = format!(
                    "UDP {size} B, {sockets} socket{}",
                    if sockets == 1 { "" } else { "s" }
                );
                row(&name, Mode::Udp, &load).aiming_at(Goals {
                    tokio: Some(1.05),
                    ..NO_GOALS
                })
            })
            .to_vec(),
        "tls" => [
            row("TLS 64 B, 50 conn.", Mode::Tls, "tls-echo --connections 50"),
            row(
                "TLS 16 KiB, 8 conn.",
                Mode::Tls,
                "tls-echo --connections 8 --size 16384",
            )
            .serving(WIDE),
            row("TLS full handshakes", Mode::Tls, "tls-handshakes"),
        ]
        .map(|row| Row {
            per_core: true,
            ..row.aiming_at(Goals {
                tokio: Some(1.0),
                ..NO_GOALS
            })
        })
        .into_iter()
        .chain([row(
            "TCP 64 B, 1 conn., beside TLS handshakes: p99 in µs",
            Mode::Tls,
            "tcp-echo --connections 1",
        )
        .serving("--plain")
        .beside("tls-handshakes")
        .by(Metric::P99)
        .aiming_at(NO_GOALS)])
        .collect(),
        "openloop" => open_loop(&OPEN_LOOP_RATES, &OPEN_LOOP_CONNECTIONS, "poisson"),
        "both-cores" => [
            echo("both cores, 64 B, 50 conn.", "--connections 50"),
            echo(
                "both cores, 64 B, 50 conn. × 16 deep",
                "--connections 50 --depth 16",
            ),
            row(
                "both cores, UDP 64 B, 4 sockets",
                Mode::Udp,
                "udp-echo --connections 4",
            ),
        ]
        .map(|row| row.on(Layout::Shared).aiming_at(NO_GOALS))
        .to_vec(),
        "idle" => vec![
            row(
                "10,000 idle, bytes each",
                Mode::Echo,
                "idle --connections 10000",
            )
            .by(Metric::Bytes)
            .aiming_at(Goals {
                bytes: Some(400.0),
                ..NO_GOALS
            }),
            row(
                "10,000 idle TLS, bytes each",
                Mode::Tls,
                "tls-idle --connections 10000",
            )
            .by(Metric::Bytes)
            .aiming_at(NO_GOALS),
        ],
        "compute" => [0, 10, 100]
            .map(|micros| {
                let name = format!("handler of {micros} µs, both cores, 50 conn.");
                let goals = Goals {
                    tokio: Some(1.0),
                    own: Some(1.8),
                    ..NO_GOALS
                };
                echo(&name, "--connections 50")
                    .serving(&format!("--compute-us {micros}"))
                    .on(Layout::Shared)
                    .aiming_at(if micros == 0 { NO_GOALS } else { goals })
            })
            .to_vec(),
        "slow" => vec![Row {
            field: Field::Slow,
            ..echo(
                "1 slow handler (20 ms), 50 fast conn.: p99 in µs",
                "--connections 50 --slow-connections 1",
            )
            .serving("--slow-us 20000")
            .on(Layout::Shared)
            .by(Metric::P99)
            .aiming_at(Goals {
                tokio: Some(1.0),
                ..NO_GOALS
            })
        }],
        _ => Vec::new(),
    }
}

/// A row for each number of connections and each rate; `arrivals` is `poisson` or `fixed`.
pub fn open_loop(rates: &[u32], connections: &[u32], arrivals: &str) -> Vec<Row> {
    let row = |connections: u32, rate: u32| {
        let name = format!(
            "open loop, 64 B, {} conn., {} k/s{}: p99 in µs",
            grouped(f64::from(connections)),
            f64::from(rate) / 1e3,
            if arrivals == "poisson" { "" } else { ", fixed" },
        );
        let load =
            format!("open-loop --connections {connections} --rate {rate} --arrivals {arrivals}");
        Row {
            field: Field::OpenLoop,
            ..Row::new("openloop", &name, Mode::Echo, &load)
                .by(Metric::P99)
                .aiming_at(NO_GOALS)
        }
    };
    connections
        .iter()
        .flat_map(|count| rates.iter().map(|rate| row(*count, *rate)))
        .collect()
}

fn bulk(row: impl Fn(&str, Mode, &str) -> Row) -> Vec<Row> {
    let one_way = [1, 8].map(|count| {
        row(
            &format!("bulk one way, {count} conn."),
            Mode::Sink,
            &format!("sink --connections {count}"),
        )
        .serving(WIDE)
    });
    let both_ways = [1, 8].map(|count| {
        let load = format!("bulk-echo --connections {count}");
        row(
            &format!("bulk echo of 64 KiB, {count} conn."),
            Mode::Echo,
            &load,
        )
        .serving(WIDE)
    });
    let [one, mut eight] = one_way;
    let [echo_one, mut echo_eight] = both_ways;
    (eight.field, echo_eight.field) = (Field::Core, Field::Core);
    vec![one, eight, echo_one, echo_eight]
}

/// The names of all rows in the order of the tables.
pub fn names() -> impl Iterator<Item = String> {
    TABLES
        .iter()
        .flat_map(|table| rows(table))
        .map(|row| row.name)
}

/// Finds a row by its name.
pub fn find(name: &str) -> Option<Row> {
    TABLES
        .iter()
        .flat_map(|table| rows(table))
        .find(|row| row.name == name)
}

impl Row {
    /// A row of rates with the usual goals, server and generator on a core each.
    fn new(table: &'static str, name: &str, mode: Mode, load: &str) -> Self {
        Self {
            table,
            name: name.into(),
            mode,
            load: load.into(),
            server: String::new(),
            beside: None,
            layout: Layout::Split,
            metric: Metric::Rate,
            per_core: false,
            field: Field::All,
            goals: EQUAL,
        }
    }

    fn serving(mut self, arguments: &str) -> Self {
        self.server = arguments.into();
        self
    }

    fn beside(mut self, load: &'static str) -> Self {
        self.beside = Some(load);
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

    fn aiming_at(mut self, goals: Goals) -> Self {
        self.goals = goals;
        self
    }

    /// True if system calls can be counted for a message.
    pub fn has_messages(&self) -> bool {
        self.metric != Metric::Bytes && self.mode != Mode::Sink && self.beside.is_none()
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
        let names: std::collections::BTreeSet<&str> =
            all.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        assert!(TABLES.iter().all(|table| !rows(table).is_empty()));
    }
}
