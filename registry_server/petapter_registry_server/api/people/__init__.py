"""Routes about people: organisations, rights on modules, tokens, the audit."""
