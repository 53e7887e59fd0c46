"""PostgreSQL: one named function per query. Every function takes the connection first and speaks the domain's words."""
