"""The machinery: command line, settings, plan, runner, artifact store and reports."""
