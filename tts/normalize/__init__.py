"""Numbers, dates, signs and markup → words. A library of its own: it imports nothing of the other rooms."""
