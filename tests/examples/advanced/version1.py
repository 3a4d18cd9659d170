from currant import task, workflow

@task(retries=3, timeout=60)
async def charge_card(amount: int, card_token: str):
    return {"transaction_id": "txn_123", "amount": amount}

@task(queue="receipts")
async def send_receipt(email: str, amount: int):
    print(f"Sending receipt for ${amount} to {email}")

@workflow(queue="orders", version=1)
async def process_order(order_id: str, amount: int, email: str, card_token: str):
    charge_result = await charge_card.run(amount, card_token)

    await send_receipt.run(email, amount)
    return {"order_id": order_id}
