//! The setters of options: `TcpLimits::default().with_idle_timeout(..)`.

/// Gives options a consuming setter for each field: one that converts, one that takes the value as it is (numbers,
/// whose literals would not convert), and two for the value of an option, converted and as it is.
macro_rules! setters {
    ($($(#[$doc:meta])* $setter:ident, $($field:ident).+ : $how:tt $type:ty;)*) => {
        $(setters!(@one $(#[$doc])* $setter, [$($field).+], $how, $type);)*
    };
    (@one $(#[$doc:meta])* $setter:ident, [$($field:ident).+], into, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: impl Into<$type>) -> Self {
            self.$($field).+ = value.into();
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, [$($field:ident).+], plain, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: $type) -> Self {
            self.$($field).+ = value;
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, [$($field:ident).+], some_name, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: impl Into<$type>) -> Self {
            let name: $type = value.into();
            self.$($field).+ = (!name.as_str().is_empty()).then_some(name);
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, [$($field:ident).+], some, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: impl Into<Option<$type>>) -> Self {
            self.$($field).+ = value.into();
            self
        }
    };
}

/// Gives options the setters of [`ConnectionOptions`](crate::ConnectionOptions), which are in the given field, or the
/// options themselves.
macro_rules! connection_setters {
    ($($outer:ident)?) => {
        setters! {
            /// Sets [`read_buffer_size`](crate::ConnectionOptions::read_buffer_size), bytes.
            with_read_buffer_size, $($outer.)? read_buffer_size: plain usize;
            /// Sets [`buffer_pool`](crate::ConnectionOptions::buffer_pool).
            with_buffer_pool, $($outer.)? buffer_pool: into Option<BufferPool>;
            /// Sets [`keep_alive_period`](crate::ConnectionOptions::keep_alive_period).
            with_keep_alive_period, $($outer.)? keep_alive_period: into Option<Duration>;
            /// Sets [`framing`](crate::ConnectionOptions::framing).
            with_framing, $($outer.)? framing: plain Framing;
            /// Sets [`half_open`](crate::ConnectionOptions::half_open).
            with_half_open, $($outer.)? half_open: plain bool;
            /// Sets [`close_on_full_mailbox`](crate::ConnectionOptions::close_on_full_mailbox).
            with_close_on_full_mailbox, $($outer.)? close_on_full_mailbox: plain bool;
            /// Sets [`write_keep_alive`](crate::ConnectionOptions::write_keep_alive).
            with_write_keep_alive, $($outer.)? write_keep_alive: into Option<(Duration, Vec<u8>)>;
            /// Sets [`limits`](crate::ConnectionOptions::limits).
            with_limits, $($outer.)? limits: plain TcpLimits;
            /// Sets [`socket`](crate::ConnectionOptions::socket).
            with_socket, $($outer.)? socket: plain SocketOptions;
        }
    };
}
