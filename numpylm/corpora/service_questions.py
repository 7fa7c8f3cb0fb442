"""Questions that follow an answer and mean what it was about, and questions that no store or bank can answer."""

# -------------------------------------------------------------------------------------- after an answer
HOW_LONG = (
    "How long [will|does] that take?",
    "How long [will I|do I] have to wait?",
    "When [will that be|can I expect that]?",
    "Will that take long?",
    "How soon will that be?",
    "Do you know how long that [takes|will take]?",
)
COST = (
    "Does that cost [anything|extra]?",
    "How much does that cost?",
    "Do I have to pay [for that|anything]?",
    "Is that free?",
    "Is there a [fee|charge] for that?",
    "What will that cost me?",
)
FOLLOW_UPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # kind: questions, answers
    "refund time": (
        HOW_LONG,
        (
            "Refunds [usually|normally] take three to five business days.",
            "You will see the money in three to five days.",
        ),
    ),
    "replacement time": (
        HOW_LONG,
        (
            "The new package should be there in two or three days.",
            "Replacements [usually|normally] take two or three days.",
        ),
    ),
    "new card time": (
        HOW_LONG,
        ("Your new card should arrive in about a week.", "A new card [usually|normally] takes about a week."),
    ),
    "case time": (
        HOW_LONG,
        ("Our team will write to you within ten days.", "It can take up to ten days to look into a charge."),
    ),
    "shipping time": (
        HOW_LONG,
        (
            "Shipping [usually|normally] takes four to six days.",
            "It [usually|normally] gets there in four to six days.",
        ),
    ),
    "call time": (
        HOW_LONG,
        (
            "The call [usually|normally] takes place within two hours.",
            "We call [almost everyone|people] within two hours.",
        ),
    ),
    "return cost": (COST, ("[No, returns|Returns] are always free.", "We pay for the shipping of all returns.")),
    "new card cost": (COST, ("The new card is free[| of charge].", "We don't charge [anything |]for a new card.")),
    "invoice cost": (
        COST,
        ("A copy of an invoice is [always free|free].", "We don't charge [anything |]for invoices."),
    ),
    "account fee": (COST, ("Our accounts have no monthly fee.", "There is no fee for [opening|having] an account.")),
    "PIN cost": (COST, ("A new PIN is free[| of charge].", "We don't charge [anything |]for a new PIN.")),
    "travel fee": (
        COST,
        ("Travel notices are [always free|free].", "We don't charge [anything |]for a travel notice."),
    ),
    "confirmation": (
        (
            "Will I get [an email|a confirmation|a confirmation email][| about that]?",
            "[Can|Could] you send me [an email|a confirmation][| about that]?",
            "Can I get that in writing?",
            "Do I get a confirmation?",
            "Will you [email me|send me something] about it?",
            "How will I know that it worked?",
        ),
        (
            "You will get [an email|a confirmation email] [in a few minutes|within the hour].",
            "I have just sent you a confirmation[| by email].",
        ),
    ),
    "signature": (
        (
            "Do I have to sign for it?",
            "Does [somebody|anybody|someone] have to be home[| for that]?",
            "Do I need to be [home|there][| to get it]?",
            "Can the driver leave it at the door?",
            "What if I'm not home[| that day]?",
            "Do you need a signature?",
        ),
        ("The driver [can|will] leave it at your door.", "Nobody has to sign. The driver can leave it at the door."),
    ),
    "parcel carrier": (
        (
            "Who will deliver it?",
            "Which [company|delivery service] do you use?",
            "Who is bringing it?",
            "How will it be shipped?",
            "Are you sending it by mail?",
            "Is it coming by mail?",
        ),
        ("All our packages come by mail.", "The post office delivers our packages."),
    ),
    "drop off": (
        (
            "Where do I drop it off?",
            "Where do I [take|bring] the [package|box]?",
            "Can I drop it off at the post office?",
            "Where do I have to take it?",
            "Can you pick it up[| at my house]?",
            "Where can I hand it in?",
        ),
        ("You can drop it off at any post office.", "Please take the package to [a|any] post office or to our store."),
    ),
    "keep item": (
        (
            "Do I have to send [the old one|it|the other one] back?",
            "What should I do with [the old one|the one I have|the one I got]?",
            "Can I keep the [old one|one I got]?",
            "Do you want [the old one|the one I got] back?",
            "Should I [return the old one|send anything back]?",
            "Should I throw it away?",
        ),
        (
            "You don't have to send anything back.",
            "Please keep it or [give it away|recycle it]. We don't need it back.",
        ),
    ),
    "card found": (
        (
            "What if I find [it|my old card|the card][| again]?",
            "What should I do if I find [it|the old card]?",
            "Can I still use [it|the card|my old card] if I find it?",
            "Will it work again if I find it?",
            "What happens if it turns up?",
            "And if I find the card[| tomorrow| again]?",
        ),
        (
            "A blocked card can't be used again. Please cut it up.",
            "If it turns up, please cut it up and throw it away.",
        ),
    ),
    "limit back": (
        (
            "Can I [change it back|lower it] later?",
            "How long is that good for?",
            "Is that only for today?",
            "Will it stay that way?",
            "Does it go back[| down] by itself?",
            "When does the [new|higher] limit end?",
        ),
        ("The limit stays until you change it[| in our app].", "You can change the limit at any time in our app."),
    ),
    "transfer cancel": (
        (
            "Can I [still |]cancel it?",
            "Can you stop it?",
            "Is it too late to cancel[| it]?",
            "What if I want my money back?",
            "Can the transfer be canceled?",
            "Can I still change it?",
        ),
        (
            "A transfer can't be stopped once it has been sent.",
            "I'm afraid [a|the] transfer can't be canceled anymore.",
        ),
    ),
    "documents": (
        (
            "What do I need to bring?",
            "What do I need for that?",
            "Do I have to bring anything?",
            "What documents do you need?",
            "Do you need [an ID|my ID|my driver's license]?",
            "Which papers do I need?",
        ),
        (
            "You will need a photo ID and proof of your address.",
            "Please have a photo ID and proof of your address ready.",
        ),
    ),
    "account money": (
        (
            "What happens to [the|my] money[| in it]?",
            "Where does the money go?",
            "How do I get [the rest of my|my] money?",
            "There is still some money in it. What do I do?",
            "Will I get the rest of the money?",
            "Can you send me what's left?",
        ),
        ("You can tell us on the form where to send the money.", "The form asks where your money should go."),
    ),
    "reset email": (
        (
            "I didn't get [an|any] email. What now?",
            "The email isn't here[| yet]. What can I do?",
            "What if the email doesn't come?",
            "I don't see [an|any] email from you.",
            "Where is the email?",
            "Nothing has come so far. What should I do?",
        ),
        ("Please look in your spam folder[|, too].", "The email may be in your spam folder. If not, please try again."),
    ),
    "parking": (
        (
            "Is there [any |]parking?",
            "Where can I park?",
            "Can I park there?",
            "Do you have a parking lot?",
            "Is there a place to park[| my car]?",
            "I'm coming by car. Where do I park?",
        ),
        ("There is free parking behind the building.", "You can park behind the building[| for free]."),
    ),
    "expiry": (
        (
            "Does it expire?",
            "How long is it [good|valid]?",
            "When does it expire?",
            "How long can I use it?",
            "Can I still use it next year?",
            "Is there an expiration date?",
        ),
        ("It is good for one year.", "You can use it for one year[| from today]."),
    ),
    "warranty proof": (
        (
            "Do I need the receipt[| for that]?",
            "What do I need for that?",
            "I don't have the receipt anymore. Is that OK?",
            "Do I have to show [a|the] receipt?",
            "What if I lost the receipt?",
            "Do you need proof that I bought it?",
        ),
        ("A receipt or an order number is enough.", "We only need the receipt or the order number."),
    ),
}

# ------------------------------------------------------------------------------------------ outside questions
OUTSIDE: dict[str, tuple[str, tuple[str, ...]]] = {  # topic: who can help, questions
    "the weather": (
        "A weather app can tell you more.",
        (
            "What will the weather be like [tomorrow|this weekend|today]?",
            "Is it going to [rain|snow] [today|tomorrow|this weekend]?",
            "How [cold|hot] is it outside?",
            "Do I need an umbrella [today|tomorrow]?",
            "Will it be sunny [today|tomorrow|on Saturday]?",
            "When will this heat [end|be over]?",
        ),
    ),
    "medical questions": (
        "Please ask a doctor.",
        (
            "I have a [headache|sore throat|bad cough]. What should I take?",
            "My [knee|back|shoulder] hurts[| when I walk]. What can I do?",
            "How much [aspirin|cough syrup] can I give my [son|daughter]?",
            "Is it safe to take two painkillers[| at once]?",
            "What helps against [a fever|a cold|an upset stomach]?",
            "I feel dizzy[| all the time]. Is that serious?",
        ),
    ),
    "legal questions": (
        "A lawyer can help you with that.",
        (
            "Can I sue my [neighbor|landlord|boss]?",
            "Is it legal to record a phone call?",
            "My landlord wants to throw me out. What are my rights?",
            "How do I write a will?",
            "Do I have to pay [this|a] parking ticket?",
            "How do I get a divorce[| without a lawyer]?",
        ),
    ),
    "politics": (
        "A newspaper is a better place for that.",
        (
            "Who should I vote for?",
            "Who will win the [next |]election?",
            "What do you think of the [president|governor|mayor]?",
            "Which party is better?",
            "Should taxes be [higher|lower]?",
            "Do you think the government is doing a good job?",
        ),
    ),
    "homework": (
        "A teacher or a library can help you.",
        (
            "Can you do my math homework?",
            "Please write an essay about [the moon|my summer|the Civil War] for me.",
            "What is the square root of [144|169|225|81]?",
            "When did World War [I|II] end?",
            "Can you help my [son|daughter] with a school project?",
            "What is the capital of [France|Australia|Canada|Peru]?",
        ),
    ),
    "other companies": (
        "Please ask the company itself.",
        (
            "My airline lost my suitcase. [Can you find it?|Where is it?]",
            "Can you cancel my gym membership?",
            "My internet is down. [Can you fix it?|What should I do?]",
            "I have a problem with an order from another store.",
            "Why is my electric bill so high?",
            "My account at another bank is locked. Can you unlock it?",
        ),
    ),
    "sports": (
        "A sports page can tell you more.",
        (
            "Who won the [game|match] last night?",
            "What's the score of the [football|baseball|basketball] game?",
            "Who is the best [quarterback|pitcher] of all time?",
            "When is the next [Super Bowl|World Cup]?",
            "Which team do you like best?",
            "Can you get me the baseball scores?",
        ),
    ),
    "cooking": (
        "A cookbook can help you with that.",
        (
            "How do I [make|cook] [pancakes|lasagna|chili]?",
            "How long do I boil [an egg|potatoes]?",
            "What can I cook with [rice and beans|chicken|tomatoes] tonight?",
            "Do you have a good recipe for [apple pie|banana bread|pizza]?",
            "Can I freeze [soup|bread|cooked rice]?",
            "How much salt goes into the pasta water?",
        ),
    ),
    "stock tips": (
        "A financial planner can help you with that.",
        (
            "Which stocks should I buy?",
            "Is it a good time to buy [gold|Bitcoin|tech stocks]?",
            "Will the stock market go [up|down]?",
            "How can I get rich quickly?",
            "Should I put all my money into [gold|one stock|Bitcoin]?",
            "What will Bitcoin be worth next year?",
        ),
    ),
    "personal matters": (
        "A friend may be the right person to ask.",
        (
            "My [girlfriend|boyfriend] left me. What should I do?",
            "Should I marry [her|him]?",
            "What should I name my [dog|cat|baby]?",
            "Can you tell me a joke?",
            "I'm bored. [What should I do?|Can you sing a song?]",
            "What is the meaning of life?",
        ),
    ),
}
OUTSIDE_ANSWERS = (
    "[I'm sorry, but|Sorry, but] I can't help with {topic}. [{advice}|I only know about our store and our bank.]",
    "I'm afraid I can't help you with {topic}. [{advice}|I can only answer questions about our store and our bank.]",
    "I wish I could help with {topic}, but I only know about our store and our bank.[| {advice}]",
)
