//! `axum-http ADDRESS [--workers N]`: the routes of `tokio-http` on axum.

use axum::{Router, body::Bytes, extract::DefaultBodyLimit, routing::get};
use longshore_bench::apps::Arguments;
use std::io;
use tokio::{net::TcpListener, signal};

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    arguments.runtime()?.block_on(async {
        let listener = TcpListener::bind(arguments.address).await?;
        println!("{}", listener.local_addr()?);
        let root = get(|| async { "Hello, world!\n" }).post(|body: Bytes| async { body });
        let router = Router::new()
            .route("/", root)
            .layer(DefaultBodyLimit::max(1 << 20));
        axum::serve(listener, router)
            .with_graceful_shutdown(async { drop(signal::ctrl_c().await) })
            .await
    })
}
