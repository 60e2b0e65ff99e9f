//! The setters of options: `TcpLimits::default().with_idle_timeout(..)`.

/// Gives options a consuming setter for each field: one that converts, one that takes the value as it is (numbers, whose
/// literals would not convert), and two for the value of an option, converted and as it is.
macro_rules! setters {
    ($($(#[$doc:meta])* $setter:ident, $field:ident : $how:tt $type:ty;)*) => {
        $(setters!(@one $(#[$doc])* $setter, $field, $how, $type);)*
    };
    (@one $(#[$doc:meta])* $setter:ident, $field:ident, into, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: impl Into<$type>) -> Self {
            self.$field = value.into();
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, $field:ident, plain, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: $type) -> Self {
            self.$field = value;
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, $field:ident, some_name, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: impl Into<$type>) -> Self {
            let name: $type = value.into();
            self.$field = (!name.as_str().is_empty()).then_some(name);
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, $field:ident, some, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: $type) -> Self {
            self.$field = Some(value);
            self
        }
    };
}

/// Gives options of connections the setters of what listeners and clients have in common, and a view of it.
macro_rules! stream_options {
    () => {
        setters! {
            /// Sets [`read_buffer_size`](Self::read_buffer_size), bytes.
            with_read_buffer_size, read_buffer_size: plain usize;
            /// Sets [`buffer_pool`](Self::buffer_pool).
            with_buffer_pool, buffer_pool: into Option<BufferPool>;
            /// Sets [`keep_alive_period`](Self::keep_alive_period).
            with_keep_alive_period, keep_alive_period: into Option<Duration>;
            /// Sets [`framing`](Self::framing).
            with_framing, framing: plain Framing;
            /// Sets [`half_open`](Self::half_open).
            with_half_open, half_open: plain bool;
            /// Sets [`close_on_full_mailbox`](Self::close_on_full_mailbox).
            with_close_on_full_mailbox, close_on_full_mailbox: plain bool;
            /// Sets [`write_keep_alive`](Self::write_keep_alive).
            with_write_keep_alive, write_keep_alive: into Option<(Duration, Vec<u8>)>;
            /// Sets [`limits`](Self::limits).
            with_limits, limits: plain TcpLimits;
            /// Sets [`socket`](Self::socket).
            with_socket, socket: plain SocketOptions;
        }

        pub(crate) fn stream(&self) -> StreamOptions<'_> {
            StreamOptions {
                read_buffer_size: self.read_buffer_size,
                buffer_pool: self.buffer_pool.as_ref(),
                keep_alive_period: self.keep_alive_period,
                framing: &self.framing,
                half_open: self.half_open,
                close_on_full_mailbox: self.close_on_full_mailbox,
                write_keep_alive: self.write_keep_alive.as_ref(),
                limits: &self.limits,
                socket: &self.socket,
            }
        }
    };
}
