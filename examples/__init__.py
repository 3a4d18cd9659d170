"""Programs that use Currant: `shop` is an application, `demo` shows it at work."""
