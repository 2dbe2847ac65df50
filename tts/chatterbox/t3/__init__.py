"""The token model: text tokens and a voice → speech tokens, on slots that share each decode step."""
