//! The one error type of an embedding program's `main`.

use std::io;

use super::StopReport;
use crate::actor::ChildFailed;
use crate::error::Reason;
use crate::error::{BindError, ConfigError, ConnectError, RequestError, SendErrorKind, SpawnError};
use crate::id::{Name, Pid};
use crate::message::SendError;

/// Any error that an embedding program meets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node could not start.
    #[error("cannot start the node: {0}")]
    Start(#[source] io::Error),
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] ConfigError),
    /// A process could not be spawned.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A socket could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A connection could not be attempted.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A message could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A command to a socket was not accepted.
    #[error(transparent)]
    Refused(#[from] SendErrorKind),
    /// A certificate, a key or a root was not usable.
    #[error(transparent)]
    Certificates(#[from] crate::tls::CertError),
    /// A request was not answered.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Input or output of the embedding program, so that `main` can use `?` on it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A node has stopped, and a deadline cut something off.
    #[error("the node stopped: {0}")]
    Stopped(StopReport),
    /// The root process of [`Node::run`](crate::Node::run) ended, and its reason was neither `Normal` nor `Shutdown`.
    #[error("the root process {pid} ({actor}) ended: {reason}")]
    Root {
        /// The process.
        pid: Pid,
        /// The name that it was spawned with.
        name: Option<Name>,
        /// The type of its actor.
        actor: &'static str,
        /// Why it ended.
        reason: Reason,
        /// The child that made it give up, if it is a supervisor and did.
        #[source]
        child: Option<ChildFailed>,
    },
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::error::Error as _;

    use super::*;

    const CAUSE: &str = "out of paper";

    fn cause() -> io::Error {
        io::Error::other(CAUSE)
    }

    fn bind_errors() -> Vec<BindError> {
        // A new variant does not compile here until it is known whether it has a cause.
        let _ = |error: &BindError| match error {
            BindError::Option(_) => "no cause",
            BindError::Resolve { .. } | BindError::Bind { .. } | BindError::Tls(_) => "a cause",
        };
        vec![
            BindError::Resolve {
                host: "a.test".to_owned(),
                source: cause(),
            },
            BindError::Bind {
                address: "127.0.0.1:80".to_owned(),
                source: cause(),
            },
            #[cfg(feature = "tls")]
            BindError::Tls(certificate().into()),
        ]
    }

    fn connect_errors() -> Vec<ConnectError> {
        let _ = |error: &ConnectError| match error {
            ConnectError::Option(_) => "no cause",
            ConnectError::Connect { .. } | ConnectError::Path { .. } | ConnectError::Tls(_) => {
                "a cause"
            }
        };
        vec![
            ConnectError::Connect {
                address: ([127, 0, 0, 1], 80).into(),
                source: cause(),
            },
            ConnectError::Path {
                path: "/run/a.sock".to_owned(),
                source: cause(),
            },
            #[cfg(feature = "tls")]
            ConnectError::Tls(certificate().into()),
        ]
    }

    #[cfg(feature = "tls")]
    fn certificate() -> crate::tls::CertError {
        crate::tls::CertError::Read {
            path: "a.pem".into(),
            source: cause(),
        }
    }

    fn root(reason: Reason) -> Error {
        let child = reason.downcast_ref::<ChildFailed>().cloned();
        Error::Root {
            pid: Pid::NODE,
            name: None,
            actor: "root",
            reason,
            child,
        }
    }

    fn errors() -> Vec<Error> {
        let _ = |error: &Error| match error {
            Error::Option(_)
            | Error::Spawn(_)
            | Error::Send(_)
            | Error::Refused(_)
            | Error::Request(_)
            | Error::Stopped(_) => "no cause",
            Error::Start(_)
            | Error::Bind(_)
            | Error::Connect(_)
            | Error::Certificates(_)
            | Error::Io(_)
            | Error::Root { .. } => "a cause",
        };
        let failed = ChildFailed {
            child: "child".into(),
            reason: cause().into(),
            too_often: false,
        };
        let mut all = vec![
            Error::Start(cause()),
            Error::Io(cause()),
            root(failed.into()),
            #[cfg(feature = "tls")]
            certificate().into(),
        ];
        all.extend(bind_errors().into_iter().map(Error::from));
        all.extend(connect_errors().into_iter().map(Error::from));
        all
    }

    #[test]
    fn text_of_an_error_has_its_cause_and_a_reason_has_it_once() {
        for error in errors() {
            let text = error.to_string();
            assert_eq!(text.matches(CAUSE).count(), 1, "{text}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                assert!(text.contains(&inner.to_string()), "{text}: {inner}");
                cause = inner.source();
            }
            let reason = Reason::from(error).to_string();
            assert_eq!(reason, text);
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn text_of_an_error_of_tls_has_its_cause() {
        use crate::tls::TlsError;

        let cause = || rustls::Error::General(CAUSE.to_owned());
        for error in [
            TlsError::NotTls(cause()),
            TlsError::Incompatible(cause()),
            TlsError::PeerCertificate(cause()),
            TlsError::Protocol(cause()),
            TlsError::Internal(cause()),
        ] {
            assert!(error.to_string().contains(CAUSE), "{error}");
        }
    }
}
