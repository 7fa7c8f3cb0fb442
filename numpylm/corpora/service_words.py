"""What customers ask a store and how it answers: requests, answers and what must be known, for each situation.

`numpylm.corpora.templates` explains the slots and the brackets. `numpylm.corpora.service_slots` has the slots.
"""

from dataclasses import dataclass

GLAD, SORRY, PLAIN = "glad", "sorry", "plain"


@dataclass(frozen=True)
class Situation:
    """What one kind of request needs.

    Attributes
    ----------
    group : str
        A customer's second request in a conversation belongs to another group.
    needs : tuple of slots
        What must be known before the answer. It is asked for in this order. All answers contain these slots.
    mood : GLAD, SORRY or PLAIN
        How the first answer may begin.
    then : tuple of str
        The follow-up questions that make sense after the answer.
    """

    group: str
    needs: tuple[str, ...]
    mood: str
    requests: tuple[str, ...]
    answers: tuple[str, ...]
    then: tuple[str, ...] = ()


SHOP: dict[str, Situation] = {
    # ------------------------------------------------------------------------------- before the delivery
    "order status": Situation(
        *("order", ("order",), GLAD),
        (
            "Where is [my order|order {order}|my order {order}]?",
            "[Can|Could] you tell me where order {order} is?",
            "I'd like to know [the status of|what happened to] order {order}.",
            "Has order {order} shipped yet?",
            "I placed order {order} on {date} and [haven't heard anything since|haven't gotten any news yet].",
            "When will [order {order}|my order] [arrive|get here]?",
            "[Can|Could] you check [on my order|the status of my order][| for me]?",
            "Where is the {product} I ordered[| last week]?",
            "I ordered a new {product} on {date}. [Has it shipped yet?|Is it on its way?]",
        ),
        (
            "Order {order} [has shipped|is on its way] and should [arrive|be there] on {weekday:weekdays}.",
            "[I just checked|I checked our system], and order {order} will [arrive|be there] on {weekday:weekdays}.",
            "Order {order} left our warehouse [yesterday|this morning]. It should arrive on {weekday:weekdays}.",
        ),
        ("signature", "parcel carrier"),
    ),
    "cancel order": Situation(
        *("order", ("order",), GLAD),
        (
            "Please cancel [order {order}|my order {order}].",
            "I want to cancel [order {order}|my order].",
            "I'd like to cancel the {product} I ordered on {date}.",
            "[Can|Could] you [cancel|stop] order {order} before it ships?",
            "I ordered the {product} by mistake. [Can you cancel my order?|Please cancel it.]",
            "Order {order} was [a mistake|an accident]. Please cancel it.",
            "I changed my mind about order {order}. Can I still cancel it?",
            "I don't need the {product} anymore. [Can I cancel my order?|How do I cancel it?]",
        ),
        (
            "I have canceled order {order}[| for you]. [You will not be charged.|Your money will be back soon.]",
            "Order {order} [is|has been] canceled[|, and nothing will be shipped].",
            "That was just in time. Order {order} is now canceled.",
        ),
        ("confirmation", "refund time"),
    ),
    "change address": Situation(
        *("order", ("order", "street"), GLAD),
        (
            "[I moved.|I just moved.] Please send order {order} to {street}.",
            "I need to change the [delivery|shipping] address [for order {order}|of my order].",
            "Can you ship order {order} to {street} instead?",
            "I entered the wrong address for order {order}. It should be {street}.",
            "Please send my {product} to {street}[| instead].",
            "I typed the wrong address[| when I ordered]. [Can you fix it?|How can I change it?]",
            "Is it too late to change [the address on order {order}|where my order goes]?",
            "My new address is {street}. Please use it for order {order}.",
        ),
        (
            "Order {order} will [now go|be shipped] to {street}.",
            "I have changed the address of order {order} to {street}.",
            "The new address for order {order} is {street}. [It hasn't shipped yet.|We haven't shipped it yet.]",
        ),
        ("confirmation", "parcel carrier"),
    ),
    "reschedule delivery": Situation(
        *("order", ("order", "day"), GLAD),
        (
            "I won't be home when order {order} comes. [Can you deliver it on {day}?|Please deliver it on {day}.]",
            "Can you deliver order {order} on {day} instead?",
            "I need to [reschedule|move] my delivery[| to {day}].",
            "Please deliver my {product} on {day}.",
            "I'd like a different delivery day for order {order}.",
            "We'll be on vacation that week. [Can order {order} come on {day}?|Can my order come later?]",
            "Is it possible to get order {order} on {day}?",
        ),
        (
            "We will deliver order {order} on {day}.",
            "The delivery of order {order} is now set for {day}.",
            "That works. Order {order} will [arrive|be delivered] on {day}.",
        ),
        ("signature", "confirmation"),
    ),
    "late delivery": Situation(
        *("order", ("order",), SORRY),
        (
            "Order {order} was supposed to be here on {date}.",
            "My order is [a week|two weeks|ten days] late[|, and nobody has told me why].",
            "Why is order {order} [so late|taking so long]?",
            "I've been waiting for order {order} since {date}.",
            "My {product} should have arrived on {date}[|, but nothing came].",
            "The delivery date has passed, and [order {order} still isn't here|my package still isn't here].",
            "I paid for express shipping, and order {order} [still hasn't come|is late].",
        ),
        (
            "Order {order} was held up [in transit|by weather|at the warehouse]. It will come on {weekday:weekdays}.",
            "Our driver was delayed. Order {order} should be there on {weekday:weekdays}.",
            "I found the problem. Order {order} will [reach you|be there] on {weekday:weekdays}.",
        ),
        ("signature", "parcel carrier"),
    ),
    # -------------------------------------------------------------------------------- after the delivery
    "return": Situation(
        *("parcel", ("order",), GLAD),
        (
            "I'd like to return [order {order}|my order].",
            "How do I [return|send back] the {product}[| I bought]?",
            "The {product} from order {order} is not for me. Can I return it?",
            "The {product} is [smaller|bigger|heavier] than I thought. [I want to send it back.|Can I send it back?]",
            "I need a return label for order {order}.",
            "Can I still return something I bought on {date}?",
            "What do I have to do to send back order {order}?",
            "I got a {product} from order {order} as a gift. Can I return it?",
        ),
        (
            "I have emailed you a return label for order {order}. [Just put it on the box.|Please put it on the box.]",
            "You can return order {order} within 30 days. I have [sent you a label|emailed you a return label].",
            "The return label for order {order} is on its way to your inbox.",
        ),
        ("return cost", "drop off", "refund time"),
    ),
    "exchange": Situation(
        *("parcel", ("product", "order"), GLAD),
        (
            "Can I exchange the {product} from order {order} for [another color|a bigger one|a smaller one]?",
            "The {product} from order {order} is the wrong size for us. [Can I exchange it?|I'd like to swap it.]",
            "I'd like to exchange the {product} I bought.",
            "I'd like to exchange something from order {order}.",
            "Can I swap my {product} for [a different one|a different color]?",
            "I bought a {product} on {date} and want to exchange it.",
            "How do exchanges work? I'd like to trade in the {product} from order {order}.",
            "I want to exchange an item[| I bought].",
        ),
        (
            "You can exchange the {product} from order {order}. [A label is in your inbox.|I emailed you a label.]",
            "I have set up an exchange of the {product} from order {order}.[| Please send it back within 30 days.]",
            "The exchange of the {product} is ready. Please write {order} on the box.",
        ),
        ("return cost", "drop off", "replacement time"),
    ),
    "refund missing": Situation(
        *("parcel", ("order", "amount"), SORRY),
        (
            "I still haven't gotten my refund of {amount} for order {order}.",
            "Where is my refund[ for order {order}|]?",
            "I returned order {order} on {date}, and my {amount} [still isn't back|hasn't come back].",
            "You owe me {amount} for order {order}.",
            "My refund of {amount} never [arrived|showed up].",
            "I sent back the {product}, but I haven't [seen my money|gotten my money back].",
            "It's been two weeks, and I'm still waiting for {amount} back from order {order}.",
            "When will I get my money back for order {order}?",
        ),
        (
            "Your refund of {amount} for order {order} [was sent today|is on its way].",
            "I have just sent the {amount} for order {order} again[| to your card].",
            "The refund for order {order} was [stuck|held up]. You will get your {amount} [soon|this week].",
        ),
        ("refund time", "confirmation"),
    ),
    "damaged item": Situation(
        *("parcel", ("product", "order"), SORRY),
        (
            "The {product} from order {order} [arrived damaged|arrived broken|is broken].",
            "My {product} [came damaged|was damaged in the mail].",
            "I opened the box from order {order}, and the {product} was [broken|ruined|damaged].",
            "The box was crushed, and the {product} is damaged.",
            "Something in order {order} arrived [broken|damaged].",
            "Part of my order [arrived broken|was damaged in shipping].",
            "There is something wrong with the {product} from order {order}. It [looks|seems to be] damaged.",
            "Order {order} came on {date}, and the {product} [fell apart|is damaged].",
        ),
        (
            "We will send you a new {product} for order {order}[| right away| today].",
            "A new {product} for order {order} will ship [today|tomorrow].",
            "I have added a new {product} to order {order}[| at no charge], and it will ship [today|tomorrow].",
        ),
        ("keep item", "replacement time"),
    ),
    "wrong item": Situation(
        *("parcel", ("order",), SORRY),
        (
            "You sent me the wrong item[| in order {order}].",
            "I ordered a {product}, but I got something else[| in order {order}].",
            "Order {order} came with the wrong [item|color|size].",
            "I got somebody else's package instead of order {order}.",
            "This isn't what I ordered.[| My order number is {order}.]",
            "The {product} in order {order} is the wrong color.",
            "I think you mixed up order {order} with another one.",
        ),
        (
            "We mixed up order {order}. The right item will ship [today|tomorrow].",
            "That was our mistake. We will send you the right item for order {order} [today|right away].",
            "I see what went wrong with order {order}. The right item is [already packed|on its way].",
        ),
        ("keep item", "replacement time"),
    ),
    "missing item": Situation(
        *("parcel", ("product", "order"), SORRY),
        (
            "The {product} is missing from order {order}.",
            "Order {order} came without the {product}.",
            "Something is missing from [order {order}|my order].",
            "There was no {product} in [the box|my package].",
            "I got order {order} on {date}, but the {product} wasn't in [it|the box].",
            "You forgot to pack the {product}[| in order {order}].",
            "I paid for two items[| in order {order}], but only one came.",
        ),
        (
            "The {product} from order {order} was left [at our warehouse|behind]. It will ship [today|tomorrow].",
            "We forgot the {product} in order {order}, and we will send it [today|right away].",
            "I will have the {product} for order {order} shipped [today|right away].",
        ),
        ("replacement time", "parcel carrier"),
    ),
    # --------------------------------------------------------------------------------- buying and paying
    "invoice": Situation(
        *("paper", ("order",), GLAD),
        (
            "I need [an invoice|a receipt] for order {order}.",
            "[Can|Could] you send me [a copy of my invoice|a copy of my receipt]?",
            "Please email me [the invoice|the receipt] for order {order}.",
            "There was no invoice in the box with my {product}. [Can I get one?|Could you send it to me?]",
            "My company needs [a bill|an invoice] for order {order}.",
            "I lost the receipt for something I bought on {date}. [Can I get a copy?|Can you send me a new one?]",
            "Where can I download the invoice for order {order}?",
            "I need a receipt for my taxes.[| It's for order {order}.]",
        ),
        (
            "I have emailed you the invoice for order {order}.",
            "A copy of the invoice for order {order} is [on its way to your inbox|in your inbox now].",
            "The invoice for order {order} is attached to the email I just sent you.",
        ),
        ("invoice cost",),
    ),
    "discount code": Situation(
        *("paper", ("code",), SORRY),
        (
            "My discount code {code} [doesn't work|isn't working].",
            "I can't get the code {code} to work[| at checkout].",
            "My [discount|coupon] code doesn't work[| when I buy a {product}].",
            "The page says my code[| {code}] is not valid.",
            "I tried to use {code}, but I still have to pay the full price.",
            "Why isn't my discount code accepted?",
            "Your email said I could use the code {code}, but [it was rejected|nothing happens].",
            "The discount didn't come off my total.[| I used the code {code}.]",
        ),
        (
            "I have turned on the code {code} [again|for you]. Please try it [once more|now].",
            "The code {code} works only for orders over $25.",
            "The code {code} should work now. Please enter it [in capital letters|without spaces].",
        ),
        ("expiry",),
    ),
    "buy gift card": Situation(
        *("paper", ("gift",), GLAD),
        (
            "I'd like to buy a gift card for {gift}.",
            "Can I [buy|get] a gift card[ from you|]?",
            "Do you sell gift cards? I need one for {gift}.",
            "I want to give my [sister|brother|mom|dad|friend] a {gift} gift card.",
            "I'd like to get a gift card for a friend.",
            "Please send me a gift card [worth|for] {gift}.",
            "How do I buy a gift card[ for {gift}|]?",
        ),
        (
            "A gift card for {gift} is now in your cart.",
            "I have added a gift card worth {gift} to your cart. [You can pay at checkout.|You can print it at home.]",
            "We can do that. Your {gift} gift card is in your cart[| and ready for checkout].",
        ),
        ("expiry",),
    ),
    "stock": Situation(
        *("product", ("product",), PLAIN),
        (
            "Do you have the {product} in stock?",
            "Is the {product} still available[| in blue| in black| in red]?",
            "When will the {product} be back in stock?",
            "Your website says the {product} is sold out. [Is that right?|When will you have more?]",
            "I'm looking for a new {product}. Do you have any?",
            "Can I still [buy|get] the {product}?",
            "I want to know if something is in stock.",
            "Can you check if an item is available?",
        ),
        (
            "The {product} is in stock[| and ready to ship].",
            "We have [a few|three|five] left. You can order the {product} [today|online now].",
            "The {product} is sold out, but we will have more on {weekday:weekdays}.",
        ),
        ("shipping time",),
    ),
    "warranty": Situation(
        *("product", ("product",), PLAIN),
        (
            "Does the {product} come with a warranty?",
            "How long is the warranty on the {product}?",
            "Is my {product} still under warranty?[| I bought it on {date}.]",
            "My {product} fell apart[| after a few weeks]. [Is there a warranty?|Does the warranty cover that?]",
            "What does the warranty on the {product} cover?",
            "I have a question about [a warranty|your warranty].",
            "Do your products come with a warranty?",
        ),
        (
            "The {product} comes with a two-year warranty.",
            "Our warranty on the {product} lasts two years[| from the day you bought it].",
            "We repair or replace the {product} for two years[| at no cost].",
        ),
        ("warranty proof",),
    ),
    "shipping cost": Situation(
        *("product", ("place",), PLAIN),
        (
            "How much is shipping to {place}?",
            "Do you [ship|deliver] to {place}?",
            "What does it cost to ship a {product} to {place}?",
            "How much do you charge for [shipping|delivery]?",
            "I live in {place}. [How much is shipping?|Can you ship to me?]",
            "What are your shipping rates[| to {place}]?",
            "Can I get a {product} shipped to {place}?",
        ),
        (
            "Shipping to {place} costs $4.95[|, and it is free for orders over $50].",
            "We ship to {place} for $4.95. [Orders over $50 ship free.|It's free for orders over $50.]",
            "It costs $4.95 to ship a package to {place}.",
        ),
        ("shipping time",),
    ),
}
