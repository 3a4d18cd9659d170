-- The shop's own tables, beside Currant's schema in the same database.
create schema shop;

create table shop.stock (
    sku text primary key,
    on_hand integer not null check (on_hand >= 0)
);

create table shop.reservations (
    order_id text not null,
    sku text not null references shop.stock,
    quantity integer not null check (quantity > 0)
);

-- What the card company knows: one payment for each reference, however often it is asked.
create table shop.payments (
    reference text primary key,
    card_token text not null,
    amount integer not null,
    requests integer not null default 1
);

insert into shop.stock (sku, on_hand) values ('tea', 500), ('pot', 200), ('cup', 400);
