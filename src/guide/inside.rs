// Included by examples in the documentation: runs them where they belong, inside a callback. No part of the crate.

#[allow(unused_imports, reason = "each example uses its part")]
use longshore::prelude::*;
#[allow(unused_imports, reason = "each example uses its part")]
use std::time::Duration;

/// Runs the example in the `init` of a process.
#[allow(dead_code, reason = "each example uses one of these")]
fn inside(example: impl FnOnce(&mut Context<'_>) -> Result<(), Reason> + Send + 'static) {
    struct Inside<F>(Option<F>);
    impl<F: FnOnce(&mut Context<'_>) -> Result<(), Reason> + Send + 'static> Actor for Inside<F> {
        fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
            self.0.take().expect("init runs once")(cx)
        }
    }
    let node = Node::start("example@localhost").expect("a node");
    node.spawn(move || Inside(Some(example))).expect("the example");
}

/// Runs the example in the owner of a connection, and gives it the connection; the peer reads until the end.
#[allow(dead_code, reason = "each example uses one of these")]
fn connected(example: impl FnOnce(&mut Context<'_>, Alias) -> Result<(), Reason> + Send + 'static) {
    struct Owner<F>(Option<TcpServer>, Option<F>, std::sync::mpsc::Sender<Result<(), Reason>>);
    impl<F: FnOnce(&mut Context<'_>, Alias) -> Result<(), Reason> + Send + 'static> Actor for Owner<F> {
        fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
            cx.spawn_meta(self.0.take().expect("init runs once"))?;
            Ok(())
        }
        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Result<(), Reason> {
            if let Message::TcpConnect(connect) = message {
                let done = self.1.take().expect("one connection")(cx, connect.id);
                self.2.send(done)?;
            }
            Ok(())
        }
    }
    let server = TcpServer::bind("127.0.0.1:0").expect("a server");
    let address = server.local_addr();
    let (sender, done) = std::sync::mpsc::channel();
    let node = Node::start("example@localhost").expect("a node");
    node.spawn(move || Owner(Some(server), Some(example), sender)).expect("an owner");
    let _client = std::net::TcpStream::connect(address).expect("a connection");
    done.recv_timeout(Duration::from_secs(30)).expect("no panic").expect("the example");
}

/// Runs the example in the `init` of a meta-process.
#[allow(dead_code, reason = "each example uses one of these")]
fn inside_meta(example: impl FnOnce(&mut MetaContext<'_>) -> Result<(), Reason> + Send + 'static) {
    struct Inside<F>(Option<F>, std::sync::mpsc::Sender<Result<(), Reason>>);
    impl<F: FnOnce(&mut MetaContext<'_>) -> Result<(), Reason> + Send + 'static> MetaProcess for Inside<F> {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
            let done = self.0.take().expect("init runs once")(cx);
            self.1.send(done)?;
            Ok(())
        }
    }
    struct Parent<F>(Option<Inside<F>>);
    impl<F: FnOnce(&mut MetaContext<'_>) -> Result<(), Reason> + Send + 'static> Actor for Parent<F> {
        fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
            cx.spawn_meta(self.0.take().expect("init runs once"))?;
            Ok(())
        }
    }
    let (sender, done) = std::sync::mpsc::channel();
    let node = Node::start("example@localhost").expect("a node");
    node.spawn(move || Parent(Some(Inside(Some(example), sender)))).expect("a parent");
    done.recv_timeout(Duration::from_secs(30)).expect("no panic").expect("the example");
}
