//! What holds in every cell, and what exactly where nothing races.

use longshore::{MessageRelayEnd, StopReport};

use super::peer::PeerEnd;
use super::*;

/// The last messages that a process has got, and the hand-over's Connect.
struct Ends<'a> {
    disconnects: Vec<&'a MessageTcpDisconnect>,
    relays: Vec<&'a MessageRelayEnd>,
}

impl<'a> Ends<'a> {
    /// Those of `id`; checks that nothing of it stands behind a last message.
    #[track_caller]
    fn of(watched: &'a Watched, ids: &[Alias]) -> Self {
        let (mut disconnects, mut relays) = (Vec::new(), Vec::new());
        let mut over: Vec<Alias> = Vec::new();
        for seen in &watched.seen {
            let Seen::Message(_, message) = seen else {
                continue;
            };
            let id = match message {
                Message::Tcp(packet) => packet.id,
                Message::TcpConnect(connect) => connect.id,
                Message::TcpPeerClosed(closed) => closed.id,
                Message::TcpWritable(writable) => writable.id,
                Message::TcpDisconnect(end) => {
                    assert!(!over.contains(&end.id), "two last messages");
                    over.push(end.id);
                    disconnects.push(&**end);
                    continue;
                }
                Message::RelayEnd(end) => {
                    assert_eq!([end.first.id, end.second.id], ids);
                    assert!(!ids.iter().any(|id| over.contains(id)), "two last messages");
                    over.extend(ids);
                    relays.push(&**end);
                    continue;
                }
                _ => continue,
            };
            assert!(!over.contains(&id), "{message:?} behind the last message");
        }
        Self {
            disconnects,
            relays,
        }
    }

    fn disconnect_of(&self, id: Alias) -> Option<&'a MessageTcpDisconnect> {
        self.disconnects.iter().find(|end| end.id == id).copied()
    }
}

impl Play {
    pub(super) fn judge(mut self, report: &StopReport) {
        let cell = self.cell;
        self.root.take();
        self.old.take();
        if let Some(new) = &mut self.new {
            new.take();
        }
        assert_eq!(count(&self.node, "processes"), 0);
        assert_eq!(count(&self.node, "meta_processes"), 0);
        assert!(
            report.stuck.is_empty() && report.killed.is_empty(),
            "{report}"
        );
        assert_eq!(report.undrained, 0, "{report}");
        if cell.is_orderly() {
            assert!(report.is_clean(), "{report}");
        }
        self.judge_old();
        self.judge_owner();
        for index in 0..self.ids.len() {
            self.judge_input(index);
            self.judge_output(index);
        }
    }

    /// What has come of the bytes of a peer, wherever it was handled: in order, and nothing twice.
    fn judge_input(&mut self, index: usize) {
        let id = self.ids[index];
        let mut got = self.old.handled(id);
        if let Some(new) = &mut self.new {
            got.extend(new.handled(id));
        }
        if self.cell.relays() {
            let other = 1 - index;
            let passed = self.peers[other].got.get(self.accepted[other].len()..);
            got.extend_from_slice(passed.unwrap_or_default());
        }
        let sent = self.sent[index].clone();
        assert!(
            sent.starts_with(&got),
            "peer {index}: {} bytes of {} are others than were sent, {} of them by the old owner; {:?} {:?}",
            got.len(),
            sent.len(),
            self.old.handled(id).len(),
            self.moved,
            self.relayed,
        );
        let is_quiet = self.cell.ending.is_none() && self.cell.exit.is_none();
        if is_quiet || self.cell.is_orderly() {
            assert_eq!(got.len(), sent.len(), "bytes of peer {index} are missing");
        }
    }

    /// What processes had accepted for a peer comes first.
    fn judge_output(&self, index: usize) {
        let (peer, accepted) = (&self.peers[index], &self.accepted[index]);
        let length = peer.got.len().min(accepted.len());
        assert!(
            peer.got[..length] == accepted[..length],
            "other bytes than were written"
        );
        if !self.cell.relays() {
            assert!(peer.got.len() <= accepted.len(), "more than was written");
        }
        if peer.end == Some(PeerEnd::Orderly) {
            assert_eq!(length, accepted.len(), "a part is taken for the whole");
        }
        if let Some(end) = peer.end
            && self.cell.order == Order::Flowing
        {
            if self.cell.is_orderly() {
                assert_eq!(end, PeerEnd::Orderly, "peer {index}");
            } else if self.cell.ending == Some(Ending::Abort) && self.cell.exit.is_none() {
                assert!(matches!(end, PeerEnd::Failed(_)), "peer {index}: {end:?}");
            }
        }
    }

    /// Who has given the first connection away gets nothing more of it.
    fn judge_old(&self) {
        if !self.cell.hands_over() {
            return;
        }
        let ends = Ends::of(&self.old, &self.ids);
        assert!(ends.relays.is_empty());
        match self.moved {
            Some(Ok(())) => assert!(ends.disconnects.is_empty(), "{:?}", ends.disconnects),
            // It is there to the end, and so is its connection.
            _ if !self.cell.has_exited(Party::Old) => assert_eq!(ends.disconnects.len(), 1),
            _ => {}
        }
    }

    fn judge_owner(&self) {
        let is_alive = !self.cell.has_exited(Party::Owner);
        let owner = self.new.as_ref().unwrap_or(&self.old);
        let ends = Ends::of(owner, &self.ids);
        let owned = if self.cell.hands_over() && !self.has_moved() {
            &self.ids[1..]
        } else {
            &self.ids[..]
        };
        if self.has_relayed() {
            assert!(ends.disconnects.is_empty(), "{:?}", ends.disconnects);
            assert!(!is_alive || ends.relays.len() == 1, "no end of the relay");
        } else {
            assert!(ends.relays.is_empty());
            for id in owned {
                let end = ends.disconnect_of(*id);
                assert!(!is_alive || end.is_some(), "no Disconnect of {id}");
            }
        }
        if let Some(end) = ends.relays.first() {
            self.judge_relay(end);
        }
        if let Some(end) = ends.disconnect_of(self.ids[0])
            && !self.has_relayed()
        {
            self.judge_end(end);
        }
    }

    /// A connection that was not relayed.
    fn judge_end(&self, end: &MessageTcpDisconnect) {
        let accepted = self.accepted[0].len() as u64;
        assert_eq!(end.bytes_out + end.unsent, accepted, "{end:?}");
        self.judge_reason(0, &end.reason);
        let (got, peer_end) = (self.peers[0].got.len() as u64, self.peers[0].end);
        assert!(got <= end.bytes_out, "{got} bytes of {}", end.bytes_out);
        if peer_end == Some(PeerEnd::Orderly) {
            assert_eq!((got, end.unsent), (accepted, 0), "{end:?}");
        }
    }

    fn judge_relay(&self, end: &MessageRelayEnd) {
        println!("{end:?}");
        for (index, side, other) in [(0, &end.first, &end.second), (1, &end.second, &end.first)] {
            self.judge_reason(index, &side.reason);
            let peer = &self.peers[index];
            let most = self.accepted[index].len() as u64 + other.forwarded;
            let got = peer.got.len() as u64;
            assert!(got <= most, "peer {index}: {got} of {most}, {end:?}");
            if peer.end == Some(PeerEnd::Orderly) {
                assert_eq!((got, side.unsent), (most, 0), "peer {index}: {end:?}");
            }
            if self.cell.is_orderly() {
                assert_eq!(side.unsent, 0, "{end:?}");
            }
        }
    }

    #[track_caller]
    fn judge_reason(&self, index: usize, reason: &DisconnectReason) {
        let name = reason.name();
        let allowed = self.reasons(index);
        assert!(
            allowed.contains(&name),
            "side {index}: {reason:?} is none of {allowed:?}"
        );
    }

    /// The reasons that a connection can end for, by their names.
    fn reasons(&self, index: usize) -> Vec<&'static str> {
        let cell = self.cell;
        let mut names = Vec::new();
        match cell.ending {
            None => {}
            Some(Ending::Stop) => names.push("node_stop"),
            Some(Ending::Drain) => names.push("drain"),
            Some(Ending::Abort) => names.push("abort"),
            Some(Ending::Close) => names.push("local_close"),
        }
        let own = [Party::Source, Party::Target][index];
        match cell.exit {
            None => {}
            Some((Party::Old, _)) => names.push(["owner_gone", "abort"][index]),
            // The one that would get the message has ended, or gets it just before.
            Some((Party::Owner, _)) => names.extend(["exit", "owner_gone"]),
            Some((_, Manner::Orderly)) => names.push("closed_by_peer"),
            Some((party, Manner::Panic)) if party == own => names.extend(["reset", "io"]),
            Some((_, Manner::Panic)) => names.push("abort"),
            // Whether a FIN or a reset comes depends on what the peer has not read.
            Some((party, Manner::Kill)) if party == own => {
                names.extend(["closed_by_peer", "reset", "truncated", "io"]);
            }
            Some((_, Manner::Kill)) => names.extend(["closed_by_peer", "abort"]),
        }
        if !self.ends_by_itself() {
            names.push("closed_by_peer");
        }
        // Input that the owner has just given back is missing then.
        if cell.relays() && cell.order == Order::Blocked {
            names.push("abort");
        }
        names
    }
}

impl Cell {
    /// Whether everything had arrived, and nothing is reset.
    fn is_orderly(&self) -> bool {
        let ends_in_order = self.ending != Some(Ending::Abort);
        let exits_in_order = match self.exit {
            None => true,
            Some((_, manner)) => manner == Manner::Orderly,
        };
        ends_in_order && exits_in_order && self.order == Order::Flowing
    }
}
