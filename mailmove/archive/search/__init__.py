"""Search: search.db, an FTS5 index of all words, apart from archive.db so that it can be dropped (design.md section 5).

Strategy: a message's digest is the hash of its octets, so what was indexed of a digest can never be out of date; what
changes (places, voids, damage) is asked of the catalogue at every question. `text` decodes, `index` writes, `query`
understands what was asked, `conditions` puts it to SQLite, `find` answers. Nothing here is needed to archive or to
deliver, and all of it can be made anew from mail/ and archive.db.
"""
