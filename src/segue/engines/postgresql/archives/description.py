"""How an object is made again, in PostgreSQL's own words, and what uses it: queries of the catalog.

Every query asks about a table, as text that to_regclass reads, and the name of a column or an index of it.
Names and definitions come out quoted and complete. What was buried is made again where it lay.
"""

from __future__ import annotations

from segue.core.change import Kind

# Values are written, and read again, in this form, as pg_dump does it.
AS_TEXT = (
    "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL extra_float_digits = 3; "
    "SET LOCAL bytea_output = 'hex'; SET LOCAL statement_timeout = 0"
)

_ASKED = "WITH asked AS (SELECT to_regclass(%s)::oid AS oid, %s::text AS name)"
_MINE = "a.attrelid = asked.oid AND a.attnum > 0 AND NOT a.attisdropped"
_TYPE = """
    format_type(a.atttypid, a.atttypmod) || coalesce((
        SELECT ' COLLATE ' || l.oid::regcollation::text FROM pg_collation l JOIN pg_type t ON t.oid = a.atttypid
        WHERE l.oid = a.attcollation AND l.oid <> t.typcollation), '')
"""
_DEFAULT = """
    (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)
"""
_SEQUENCE = """
    pg_depend o JOIN pg_sequence s ON s.seqrelid = o.objid AND o.classid = 'pg_class'::regclass
         AND o.refclassid = 'pg_class'::regclass AND o.refobjsubid > 0
"""
_COUNTING = """
    ' START WITH ' || s.seqstart || ' INCREMENT BY ' || s.seqincrement || ' MINVALUE ' || s.seqmin
    || ' MAXVALUE ' || s.seqmax || ' CACHE ' || s.seqcache || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END
"""

# Whether its values follow from others, and the bytes that dropping it gives back at once.
REMAINS = {
    Kind.TABLE: f"""
        {_ASKED} SELECT false, pg_total_relation_size(c.oid)
        FROM asked JOIN pg_class c ON c.oid = asked.oid
    """,
    Kind.COLUMN: f"""
        {_ASKED} SELECT a.attgenerated <> '', coalesce((
            SELECT sum(pg_relation_size(i.indexrelid)) FROM pg_index i
            WHERE i.indrelid = a.attrelid AND a.attnum = ANY(i.indkey::smallint[])), 0)::bigint
        FROM asked JOIN pg_attribute a ON {_MINE} AND a.attname = asked.name
    """,
    Kind.INDEX: f"""
        {_ASKED} SELECT true, pg_relation_size(c.oid)
        FROM asked JOIN pg_index i ON i.indrelid = asked.oid
        JOIN pg_class c ON c.oid = i.indexrelid AND c.relname = asked.name
        WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
    """,
}

_USERS = """
    SELECT CASE WHEN d.classid = 'pg_rewrite'::regclass THEN pg_describe_object('pg_class'::regclass, w.ev_class, 0)
                WHEN d.classid = 'pg_attrdef'::regclass
                THEN pg_describe_object('pg_class'::regclass, f.adrelid, f.adnum)
                ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END || ' uses it' AS said
    FROM asked CROSS JOIN pg_depend d
    LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
    LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
    LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
    LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
    LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
"""
# What DROP refuses for, or would take along though it is somebody else's. A column's own default, indexes and
# constraints go with it; a generated column that is computed from it does not go unasked.
HINDRANCES = {
    Kind.COLUMN: f"""
        {_ASKED}, hindrance AS (
            {_USERS} JOIN pg_attribute a ON {_MINE} AND a.attname = asked.name
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
              AND (d.deptype = 'n' OR coalesce(f.adnum, a.attnum) <> a.attnum
                   OR (d.classid = 'pg_class'::regclass AND d.objid = a.attrelid)))
        SELECT DISTINCT said FROM hindrance ORDER BY said
    """,
    Kind.TABLE: f"""
        {_ASKED}, hindrance AS (
            {_USERS} LEFT JOIN pg_type y ON y.typrelid = asked.oid
            WHERE d.deptype = 'n' AND (
                (d.refclassid = 'pg_class'::regclass AND d.refobjid = asked.oid)
                OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray)))
              AND asked.oid NOT IN (coalesce(w.ev_class, 0), coalesce(k.conrelid, 0), coalesce(f.adrelid, 0),
                                    coalesce(g.tgrelid, 0), coalesce(p.polrelid, 0), coalesce(i.indrelid, 0))
              AND NOT (d.classid = 'pg_class'::regclass AND d.objid = asked.oid)
            UNION ALL SELECT pg_describe_object('pg_policy'::regclass, p.oid, 0) || ' would be lost'
                FROM asked JOIN pg_policy p ON p.polrelid = asked.oid
            UNION ALL SELECT pg_describe_object('pg_rewrite'::regclass, w.oid, 0) || ' would be lost'
                FROM asked JOIN pg_rewrite w ON w.ev_class = asked.oid
            UNION ALL SELECT pg_describe_object('pg_publication_rel'::regclass, r.oid, 0) || ' would be lost'
                FROM asked JOIN pg_publication_rel r ON r.prrelid = asked.oid
            UNION ALL SELECT pg_describe_object('pg_constraint'::regclass, k.oid, 0) || ' is still attached'
                FROM asked JOIN pg_constraint k ON k.conrelid = asked.oid AND k.contype = 'f'
            UNION ALL SELECT 'row-level security is on' FROM asked JOIN pg_class c ON c.oid = asked.oid
                WHERE c.relrowsecurity
            UNION ALL SELECT 'it is partitioned or inherited' FROM asked JOIN pg_class c ON c.oid = asked.oid
                WHERE c.relkind <> 'r'
                   OR EXISTS (SELECT FROM pg_inherits h WHERE asked.oid IN (h.inhrelid, h.inhparent)))
        SELECT DISTINCT said FROM hindrance ORDER BY said
    """,
    Kind.INDEX: f"{_ASKED} SELECT name FROM asked WHERE false",
}

# Whether a constraint or an index of that name is there and holds for every row.
STANDS = f"""
    {_ASKED} SELECT EXISTS (SELECT FROM pg_constraint k JOIN asked ON k.conrelid = asked.oid AND k.conname = asked.name
                            WHERE k.convalidated)
                 OR EXISTS (SELECT FROM pg_index i JOIN asked ON i.indrelid = asked.oid
                            JOIN pg_class c ON c.oid = i.indexrelid AND c.relname = asked.name WHERE i.indisvalid)
"""

# The columns of the primary key in its order: name and type.
PRIMARY_KEY = f"""
    {_ASKED} SELECT a.attname::text, {_TYPE}
    FROM asked JOIN pg_index i ON i.indrelid = asked.oid AND i.indisprimary
    CROSS JOIN unnest(i.indkey::smallint[]) WITH ORDINALITY u(num, pos)
    JOIN pg_attribute a ON {_MINE} AND a.attnum = u.num ORDER BY u.pos
"""

# One column: type, default and comment. A sequence that it owns goes with it, so a default that counts does too.
VALUE = f"""
    {_ASKED} SELECT {_TYPE},
           CASE WHEN EXISTS (SELECT FROM {_SEQUENCE} WHERE o.refobjid = a.attrelid AND o.refobjsubid = a.attnum)
                THEN '' ELSE coalesce({_DEFAULT}, '') END,
           coalesce(col_description(a.attrelid, a.attnum), '')
    FROM asked JOIN pg_attribute a ON {_MINE} AND a.attname = asked.name
"""

# The columns of a table whose values are given and not computed: name and type.
COLUMNS = f"""
    {_ASKED} SELECT a.attname::text, {_TYPE} FROM asked JOIN pg_attribute a ON {_MINE} AND a.attgenerated = ''
    ORDER BY a.attnum
"""

# The indexes of a table, those of constraints too.
INDEXES = f"""
    {_ASKED} SELECT c.relname::text FROM asked JOIN pg_index i ON i.indrelid = asked.oid
    JOIN pg_class c ON c.oid = i.indexrelid ORDER BY 1
"""

# The statements that make an empty table, and first the sequences that its defaults count by.
MAKING = f"""
    {_ASKED}, columns AS (
        SELECT a.attnum, quote_ident(a.attname) || ' ' || {_TYPE}
               || CASE a.attgenerated WHEN 's' THEN ' GENERATED ALWAYS AS (' || {_DEFAULT} || ') STORED'
                                      WHEN 'v' THEN ' GENERATED ALWAYS AS (' || {_DEFAULT} || ')'
                                      ELSE coalesce(' DEFAULT ' || {_DEFAULT}, '') END
               || CASE WHEN a.attidentity = '' THEN '' ELSE (
                      SELECT ' GENERATED ' || CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END
                             || ' AS IDENTITY (SEQUENCE NAME ' || s.seqrelid::regclass::text || {_COUNTING} || ')'
                      FROM {_SEQUENCE} WHERE o.refobjid = a.attrelid AND o.refobjsubid = a.attnum) END
               || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END AS said
        FROM asked JOIN pg_attribute a ON {_MINE})
    SELECT statement FROM (
        SELECT 1, 'CREATE SEQUENCE ' || s.seqrelid::regclass::text || ' AS ' || format_type(s.seqtypid, NULL)
                  || {_COUNTING}
        FROM asked JOIN {_SEQUENCE} ON o.refobjid = asked.oid AND o.deptype = 'a'
        UNION ALL
        SELECT 2, 'CREATE ' || CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END || 'TABLE '
                  || c.oid::regclass::text
                  || ' (' || (SELECT string_agg(said, ', ' ORDER BY attnum) FROM columns) || ')'
                  || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
        FROM asked JOIN pg_class c ON c.oid = asked.oid
    ) AS making (place, statement) ORDER BY place, statement
"""

_IF_THERE_IS_THE_ROLE = "EXCEPTION WHEN undefined_object THEN NULL; END $segue$"
_GRANTED = """
    x.privilege_type || {on} || ' TO ' || CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
    || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
"""

# The statements that make a table with its rows what it was: constraints, indexes, the last values of sequences,
# triggers, comments, owner and privileges. Foreign keys were detached when it was retired.
FINISHING = f"""
    {_ASKED}, table_ AS (SELECT c.*, c.oid::regclass::text AS said FROM asked JOIN pg_class c ON c.oid = asked.oid)
    SELECT statement FROM (
        SELECT CASE k.contype WHEN 'c' THEN 3 ELSE 1 END,
               'ALTER TABLE ' || t.said || ' ADD CONSTRAINT ' || quote_ident(k.conname)
               || ' ' || pg_get_constraintdef(k.oid)
        FROM table_ t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype IN ('p', 'u', 'x', 'c')
        UNION ALL
        SELECT 2, pg_get_indexdef(i.indexrelid) FROM table_ t JOIN pg_index i ON i.indrelid = t.oid
        WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = t.oid)
        UNION ALL
        SELECT 4, 'ALTER SEQUENCE ' || s.seqrelid::regclass::text
                  || ' OWNED BY ' || t.said || '.' || quote_ident(a.attname)
        FROM table_ t JOIN {_SEQUENCE} ON o.refobjid = t.oid AND o.deptype = 'a'
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = o.refobjsubid
        UNION ALL
        SELECT 5, 'SELECT setval(' || quote_literal(s.seqrelid::regclass::text) || ', '
                  || pg_sequence_last_value(s.seqrelid) || ')'
        FROM table_ t JOIN {_SEQUENCE} ON o.refobjid = t.oid WHERE pg_sequence_last_value(s.seqrelid) IS NOT NULL
        UNION ALL
        SELECT 6, pg_get_statisticsobjdef(e.oid) FROM table_ t JOIN pg_statistic_ext e ON e.stxrelid = t.oid
        UNION ALL
        SELECT 7, pg_get_triggerdef(g.oid) FROM table_ t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
        UNION ALL
        SELECT 8, 'COMMENT ON TABLE ' || t.said || ' IS ' || quote_literal(obj_description(t.oid, 'pg_class'))
        FROM table_ t WHERE obj_description(t.oid, 'pg_class') IS NOT NULL
        UNION ALL
        SELECT 8, 'COMMENT ON COLUMN ' || t.said || '.' || quote_ident(a.attname) || ' IS '
                  || quote_literal(col_description(t.oid, a.attnum))
        FROM table_ t JOIN pg_attribute a ON a.attrelid = t.oid WHERE col_description(t.oid, a.attnum) IS NOT NULL
        UNION ALL
        SELECT 9, 'DO $segue$ BEGIN GRANT ' || {_GRANTED.format(on="' ON TABLE ' || t.said")}
                  || '; {_IF_THERE_IS_THE_ROLE}'
        FROM table_ t CROSS JOIN aclexplode(t.relacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
        WHERE x.grantee <> t.relowner
        UNION ALL
        SELECT 9, 'DO $segue$ BEGIN GRANT '
                  || {_GRANTED.format(on="' (' || quote_ident(a.attname) || ') ON TABLE ' || t.said")}
                  || '; {_IF_THERE_IS_THE_ROLE}'
        FROM table_ t JOIN pg_attribute a ON a.attrelid = t.oid CROSS JOIN aclexplode(a.attacl) x
        LEFT JOIN pg_roles r ON r.oid = x.grantee
        UNION ALL
        SELECT 9, 'DO $segue$ BEGIN GRANT ' || {_GRANTED.format(on="' ON SEQUENCE ' || q.oid::regclass::text")}
                  || '; {_IF_THERE_IS_THE_ROLE}'
        FROM table_ t JOIN {_SEQUENCE} ON o.refobjid = t.oid JOIN pg_class q ON q.oid = s.seqrelid
        CROSS JOIN aclexplode(q.relacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee WHERE x.grantee <> q.relowner
        UNION ALL
        SELECT 10, 'ALTER TABLE ' || t.said || ' OWNER TO ' || quote_ident(pg_get_userbyid(t.relowner))
        FROM table_ t WHERE pg_get_userbyid(t.relowner) <> current_user
    ) AS finishing (place, statement) ORDER BY place, statement
"""
