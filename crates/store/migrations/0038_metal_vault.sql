-- Which key seals the secrets of bare-metal nodes. Its one row is there from the start, so that who seals can lock it.

CREATE TABLE metal_vault (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL
);
INSERT INTO metal_vault (id, generation, body) VALUES ('keys', 1, '{"primary":null,"retiring":[]}');
