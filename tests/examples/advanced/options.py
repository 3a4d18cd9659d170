from currant import task, workflow

amount, token = 100, "tok_visa"

@task(queue="emails", retries=3)
async def send_email(to: str, subject: str, body: str):
    print(f"Sending email to {to}")

@task(retries=3, timeout=60)
async def charge_card(amount: int, card_token: str):
    return {"transaction_id": "txn_123", "amount": amount}

# Override timeout for task
@workflow(queue="orders", version=1)
async def risky_order(order_id: str):
    # Give extra time for this charge
    result = await charge_card.options(timeout=120).run(amount, token)
    return result
