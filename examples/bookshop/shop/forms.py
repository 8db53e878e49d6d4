"""What a customer fills in."""

from django import forms

from shop.models import Order


class OrderForm(forms.ModelForm):  # type: ignore[type-arg] # no generic at run time
    email = forms.EmailField(
        label="E-mail", widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    quantity = forms.IntegerField(min_value=1, max_value=99, initial=1)

    class Meta:
        model = Order
        fields = ("book", "quantity", "email")
