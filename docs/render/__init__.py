"""What the pages take from the library and its results instead of repeating it: functions that return Markdown."""
