"""The dashboards, a module each: what each asks, of which series, in which unit, and what it says about it."""
