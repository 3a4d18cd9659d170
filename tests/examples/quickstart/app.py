# app.py
from currant import task, task, workflow, send_signal, wait_for_signal

# Simple async task
@task(queue="emails", retries=3)
async def send_email(to: str, subject: str, body: str):
    # Your email sending logic
    print(f"Sending email to {to}")
    return {"sent": True}

# Task (workflow step)
@task(retries=3, timeout=60)
async def charge_card(amount: int, card_token: str):
    # Your payment logic
    print(f"Charging ${amount}")
    return {"transaction_id": "txn_123", "amount": amount}

@task()
async def send_receipt(email: str, amount: int):
    print(f"Sending receipt for ${amount} to {email}")

# Workflow (multi-step orchestration)
@workflow(queue="orders", version=1, timeout=3600)
async def process_order(order_id: str, amount: int, email: str, card_token: str):
    # Charge the card (suspends workflow)
    charge_result = await charge_card.run(amount, card_token)

    # Send receipt (suspends workflow)
    await send_receipt.run(email, amount)

    return {"order_id": order_id, "transaction_id": charge_result["transaction_id"]}
