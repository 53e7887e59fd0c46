"""Private services for `notifier demo` and the tests, loopback only: a database, a broker, a mail inbox."""
