//! message-io: one network thread of its own and one callback for every event. It always has one worker.

use super::{Mode, Options, Served};
use message_io::network::{NetEvent, Transport};
use message_io::node;

/// Serves until the process is killed.
pub fn serve(options: Options) -> Served {
    options.require(&[Mode::Echo, Mode::Sink, Mode::Udp]);
    let transport = if options.mode == Mode::Udp {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let (handler, listener) = node::split::<()>();
    let (_, bound) = handler.network().listen(transport, options.addr)?;
    options.announce(bound)?;
    listener.for_each(move |event| {
        if let NetEvent::Message(endpoint, data) = event.network() {
            options.spin.work(data);
            if options.echoes() {
                handler.network().send(endpoint, data);
            }
        }
    });
    Ok(())
}
